"""Which exporters the environment asks for, and how each is reached."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from .._settings import ConfigError, Settings
from .._settings.opentelemetry import usable_environment, warn_once
from .batch import BatchLimits, ExporterSink, Sink
from .bridging import BridgingExporter, bridges_for
from .otlp.transport import Transport
from .signals import LOGS, METRICS, TRACES, Signal
from .stats import ExportStats

__all__ = [
    "LOCAL",
    "NO_ARGUMENTS",
    "Arguments",
    "LocalDestination",
    "Route",
    "make_sender",
    "names",
    "open_route",
    "protocol",
    "spool_folder",
    "transport",
    "variable",
]

_log = logging.getLogger("llmtrace")
_EXPORTERS = ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none")
_PULLED = "prometheus"
"""A standard name of a metric exporter that nothing is sent to: for the provider that an application sets itself."""
LOCAL = "local"
_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of ``instrument()`` that beat standard variables of the same meaning."""

    endpoint: str | None = None
    """Where OTLP requests go, as in ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    service_name: str | None = None

    def __str__(self) -> str:
        return " and ".join(name for name in ("endpoint", "service_name") if getattr(self, name) is not None)


NO_ARGUMENTS = Arguments()


class LocalDestination(Protocol):
    """The destination of spans with nothing else configured."""

    @property
    def path(self) -> Path:
        """The file that the spans are written to."""

    def open(self, stats: ExportStats) -> Sink:
        """Return a sink that writes to the file and counts in ``stats``."""


class Route:
    """One way that a signal takes."""

    __slots__ = ("announced", "ledger", "like", "sink", "where")

    def __init__(
        self, sink: Sink, ledger: ExportStats, where: str, *, like: Any = None, announced: bool = False
    ) -> None:
        self.sink = sink
        self.ledger = ledger
        self.where = where
        """For people: an address or a path, without credentials."""
        self.like = like
        """Of metrics, the exporter of OpenTelemetry whose preferences are in force."""
        self.announced = announced
        """Whether the program's user is told, in one line on stderr."""


def variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def names(settings: Settings, signal: Signal = TRACES, arguments: Arguments = NO_ARGUMENTS) -> list[str]:
    """The exporters in force: those that ``OTEL_<SIGNAL>_EXPORTER`` names, or OTLP if an endpoint is set.

    Metrics and logs are exported when they are asked for by name: an endpoint for all signals asks for traces, as many
    backends take nothing else. Spans that are bound for nowhere go to the local store. A name that is not installed is
    logged and left out.
    """
    named = _named(settings, signal)
    if signal is TRACES and arguments.endpoint is not None and not any(name.startswith("otlp") for name in named):
        return ["otlp"]
    own, general = signal.variables("ENDPOINT")
    if not named and (variable(own) or (signal is TRACES and variable(general))):
        named = ["otlp"]
    if named:
        return [name for name in dict.fromkeys(named) if name not in ("none", _PULLED)]
    return local(settings, signal)


def _named(settings: Settings, signal: Signal) -> list[str]:
    setting = f"OTEL_{signal.name.upper()}_EXPORTER"
    named = [name for part in variable(setting).split(",") if (name := part.strip().lower())]
    usable = [name for name in named if name in (*_EXPORTERS, _PULLED) or _entry(name, signal) is not None]
    for name in sorted({*named} - {*usable}):
        warn_once(
            f"llmtrace ignores {setting}={name!r}: no such exporter is installed; use {', '.join(_EXPORTERS)}."
            f" {_instead(settings, signal)}"
        )
    return usable


def _instead(settings: Settings, signal: Signal) -> str:
    """Say where a signal goes whose exporter cannot be used."""
    if local(settings, signal):
        return "Without another destination spans go to the local store"
    return f"Without another destination {signal.unit} are not exported"


def local(settings: Settings, signal: Signal) -> list[str]:
    """The local store, for spans that are bound for nowhere else."""
    return [LOCAL] if signal is TRACES and settings.store != "off" else []


def open_routes(
    settings: Settings,
    signal: Signal = TRACES,
    local_store: LocalDestination | None = None,
    arguments: Arguments = NO_ARGUMENTS,
) -> list[tuple[str, Route]]:
    """Build all that ``names()`` says; one that cannot be built is logged, and where none is left, the local store."""
    found: list[tuple[str, Route]] = []
    with usable_environment():
        wanted = names(settings, signal, arguments)
        for name in wanted:
            try:
                found.append((name, open_route(name, settings, signal, local_store, arguments)))
            except ConfigError as error:
                warn_once(f"llmtrace: {error}. {_instead(settings, signal)}")
        if wanted and not found:
            found = [(name, open_route(name, settings, signal, local_store)) for name in local(settings, signal)]
    return found


def _entry(name: str, signal: Signal) -> EntryPoint | None:
    """An exporter that another distribution brings."""
    return next(iter(entry_points(group=f"opentelemetry_{signal.name}_exporter", name=name)), None)


def open_route(
    name: str,
    settings: Settings,
    signal: Signal = TRACES,
    local_store: LocalDestination | None = None,
    arguments: Arguments = NO_ARGUMENTS,
) -> Route:
    """Build one of ``names()``.

    Raises:
        ConfigError: The exporter cannot be built.
    """
    ledger = ExportStats(signal.unit)
    if name == LOCAL:
        if local_store is None:
            raise ConfigError("there is no local store to write spans to")
        return Route(local_store.open(ledger), ledger, str(local_store.path), announced=True)
    if name.startswith("otlp"):
        return _otlp(transport(name, signal, arguments.endpoint), settings, ledger, signal)
    exporter = _console(signal) if name == "console" else _foreign(name, signal)
    return Route(
        ExporterSink(exporter, ledger, signal), ledger, "the console" if name == "console" else name, like=exporter
    )


def _console(signal: Signal) -> Any:
    if signal is METRICS:
        from opentelemetry.sdk.metrics.export import ConsoleMetricExporter

        return ConsoleMetricExporter()
    if signal is LOGS:
        from opentelemetry.sdk._logs import export

        newer = getattr(export, "ConsoleLogRecordExporter", None)
        return (newer or export.ConsoleLogExporter)()
    from opentelemetry.sdk.trace.export import ConsoleSpanExporter

    return ConsoleSpanExporter()


def _foreign(name: str, signal: Signal) -> Any:
    try:
        entry = _entry(name, signal)
        return None if entry is None else entry.load()()
    except Exception as error:
        raise ConfigError(f"OTEL_{signal.name.upper()}_EXPORTER={name!r} cannot be used: {error}") from error


def _otlp(way: Transport, settings: Settings, ledger: ExportStats, signal: Signal) -> Route:
    endpoint = way.destination.endpoint
    sink: Sink = make_sender(way, settings, ledger)
    if signal is TRACES and (bridges := bridges_for(settings.bridges, endpoint)):
        sink = BridgingExporter(sink, bridges)
    # Temporality and aggregation are the same over HTTP and gRPC, where asking would open a channel.
    like = METRICS.exporter_class("http")() if signal is METRICS else None
    return Route(sink, ledger, endpoint, like=like)


def make_sender(way: Transport, settings: Settings, ledger: ExportStats) -> Sink:
    """Sends on this way, from the spool or, where that is off, from memory."""
    from .otlp.buffers import Buffer, MemoryBuffer
    from .otlp.sender import Sender
    from .spool.buffer import SpoolBuffer

    folder = spool_folder(settings)
    buffer: Buffer
    if folder is None:
        buffer = MemoryBuffer(_MEMORY, ledger)
    else:
        buffer = SpoolBuffer(folder, way.destination, settings.spool_max_mb << 20, ledger)
    return Sender(buffer, way, ledger, keeps=folder is not None, pace=BatchLimits().delay)


def spool_folder(settings: Settings) -> Path | None:
    """The folder of the disk buffer, or ``None`` when it is off."""
    if settings.spool == "off":
        return None
    if settings.spool:
        return Path(os.path.abspath(os.path.expanduser(settings.spool)))
    if variable("AWS_LAMBDA_FUNCTION_NAME"):  # there only this can be written to
        return Path("/tmp/llmtrace/spool")
    from platformdirs import user_state_dir

    return Path(user_state_dir("llmtrace")) / "spool"


@usable_environment()
def transport(name: str, signal: Signal = TRACES, endpoint: str | None = None) -> Transport:
    """The way that an OTLP exporter of ``names()`` takes.

    Raises:
        ConfigError: The exporter cannot be built.
    """
    grpc = name == "otlp_proto_grpc" or (name == "otlp" and protocol(signal) == "grpc")
    try:
        if grpc:
            from .otlp.grpc_transport import OtlpGrpcTransport

            return OtlpGrpcTransport(signal, endpoint)
        from .otlp.http_transport import OtlpHttpTransport

        return OtlpHttpTransport(signal, endpoint)
    except ImportError as error:
        raise ConfigError(f"the OTLP exporter is missing ({error}); pip install opentelemetry-exporter-otlp") from error
    except Exception as error:
        raise ConfigError(f"the OTLP exporter cannot be built: {error}") from error


def protocol(signal: Signal) -> str:
    """The protocol of ``otlp``: ``grpc``, or else ``http/protobuf``."""
    named = next((value for name in signal.variables("PROTOCOL") if (value := variable(name).lower())), "")
    return "grpc" if named == "grpc" else "http/protobuf"
