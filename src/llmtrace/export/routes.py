"""Routes to the exporters that the environment selects."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from .._process import warn_once
from .._settings import ConfigError, Settings
from .._settings.environment import first_variable, variable
from .._settings.opentelemetry import usable_environment
from .._sink import Sink
from .batch import BatchLimits, ExporterSink
from .bridging import bridges_for
from .otlp.transport import Transport
from .signals import METRICS, TRACES, Signal
from .stats import ExportStats

_EXPORTERS = ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none")
_PULL_EXPORTER = "prometheus"
"""A standard name of a metric exporter that serves requests; only an application's own provider can use it."""
LOCAL = "local"
_MEMORY_BUFFER_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Arguments:
    """Arguments of ``instrument()`` that override standard variables of the same meaning."""

    endpoint: str | None = None
    """Base URL for OTLP requests, as in ``OTEL_EXPORTER_OTLP_ENDPOINT``."""
    service_name: str | None = None

    def __str__(self) -> str:
        return " and ".join(name for name in ("endpoint", "service_name") if getattr(self, name) is not None)


NO_ARGUMENTS = Arguments()


@dataclass(slots=True)
class Route:
    """A sink that receives a signal, with its counters."""

    sink: Sink
    stats: ExportStats
    where: str
    """Address or path of the destination, without credentials, for display."""
    metric_exporter: Any = field(default=None, kw_only=True)
    """For metrics, the OpenTelemetry exporter whose temporality and aggregation apply."""
    announced: bool = field(default=False, kw_only=True)
    """True to announce the destination in one line on stderr."""


OpenStore = Callable[[ExportStats], Route]
"""Function that opens the local store, the destination of spans if no other is configured."""


class Routes:
    """The exporters that the environment selects, and the routes to them."""

    def __init__(
        self, settings: Settings, open_store: OpenStore | None = None, arguments: Arguments = NO_ARGUMENTS
    ) -> None:
        self.settings = settings
        self.arguments = arguments
        self._open_store = open_store

    def names(self, signal: Signal = TRACES) -> list[str]:
        """Return the active exporters: those of ``OTEL_<SIGNAL>_EXPORTER``, or OTLP if an endpoint is set.

        An endpoint for all signals selects traces only, because many backends accept nothing else. Metrics and logs
        need their own exporter or endpoint variable. Spans without an exporter go to the local store. A name that is
        not installed is logged and skipped.
        """
        exporters = self._configured_names(signal)
        if signal is TRACES and self.arguments.endpoint and not any(name.startswith("otlp") for name in exporters):
            return ["otlp"]
        own, general = signal.variables("ENDPOINT")
        if not exporters and (variable(own) or (signal is TRACES and variable(general))):
            exporters = ["otlp"]
        if exporters:
            return [name for name in dict.fromkeys(exporters) if name not in ("none", _PULL_EXPORTER)]
        return self._local(signal)

    def _configured_names(self, signal: Signal) -> list[str]:
        setting = f"OTEL_{signal.name.upper()}_EXPORTER"
        accepted = (*_EXPORTERS, _PULL_EXPORTER)
        exporters = [name for part in variable(setting).split(",") if (name := part.strip().lower())]
        usable = [name for name in exporters if name in accepted or _entry_point(name, signal) is not None]
        for name in sorted({*exporters} - {*usable}):
            warn_once(
                f"llmtrace ignores {setting}={name!r}: no such exporter is installed; use {', '.join(_EXPORTERS)}."
                f" {self._fallback_text(signal)}"
            )
        return usable

    def _fallback_text(self, signal: Signal) -> str:
        """Describe the destination of a signal whose exporter cannot be used."""
        if self._local(signal):
            return "Without another destination spans go to the local store"
        return f"Without another destination {signal.unit} are not exported"

    def _local(self, signal: Signal) -> list[str]:
        return [LOCAL] if signal is TRACES and self.settings.store != "off" else []

    def open_all(self, signal: Signal) -> list[tuple[str, Route]]:
        """Build the routes of ``names()``.

        An exporter that cannot be built is logged and skipped. If none remains, spans go to the local store.
        """
        routes: list[tuple[str, Route]] = []
        with usable_environment():
            exporters = self.names(signal)
            for name in exporters:
                try:
                    routes.append((name, self.open(name, signal)))
                except ConfigError as error:
                    warn_once(f"llmtrace: {error}. {self._fallback_text(signal)}")
            if exporters and not routes:
                routes = [(name, self.open(name, signal)) for name in self._local(signal)]
        return routes

    def open(self, name: str, signal: Signal = TRACES) -> Route:
        """Build the route of one exporter of ``names()``.

        Raises:
            ConfigError: The exporter cannot be built.
        """
        stats = ExportStats(signal.unit)
        if name == LOCAL:
            if self._open_store is None:
                raise ConfigError("there is no local store to write spans to")
            return self._open_store(stats)
        if name.startswith("otlp"):
            return self._open_otlp(transport(name, signal, self.arguments.endpoint), stats, signal)
        entry = _entry_point(name, signal)
        try:
            exporter: Any = None if entry is None else entry.load()()
        except Exception as error:
            raise ConfigError(f"OTEL_{signal.name.upper()}_EXPORTER={name!r} cannot be used: {error}") from error
        where = "the console" if name == "console" else name
        return Route(ExporterSink(exporter, stats, signal), stats, where, metric_exporter=exporter)

    def _open_otlp(self, otlp_transport: Transport, stats: ExportStats, signal: Signal) -> Route:
        endpoint = otlp_transport.destination.endpoint
        bridges = bridges_for(self.settings.bridges, endpoint) if signal is TRACES else ()
        sink = make_sender(otlp_transport, self.settings, stats, bridges)
        # Read the preferences from the HTTP exporter: those over gRPC are equal, but building it opens a channel.
        metric_exporter = METRICS.exporter_class("http")() if signal is METRICS else None
        return Route(sink, stats, endpoint, metric_exporter=metric_exporter)


def _entry_point(name: str, signal: Signal) -> EntryPoint | None:
    """Return the entry point of an exporter that another distribution provides."""
    return next(iter(entry_points(group=f"opentelemetry_{signal.name}_exporter", name=name)), None)


def make_sender(otlp_transport: Transport, settings: Settings, stats: ExportStats, bridges: Sequence[str] = ()) -> Sink:
    """Return a sink that sends over a transport, buffered in the spool or, if that is off, in memory."""
    from .otlp.buffers import Buffer, MemoryBuffer
    from .otlp.sender import Sender
    from .spool.buffer import SpoolBuffer

    folder = spool_folder(settings)
    buffer: Buffer
    if folder is None:
        buffer = MemoryBuffer(_MEMORY_BUFFER_BYTES, stats)
    else:
        buffer = SpoolBuffer(folder, otlp_transport.destination, settings.spool_max_mb << 20, stats)
    return Sender(buffer, otlp_transport, stats, bridges=bridges, durable=folder is not None, pace=BatchLimits().delay)


def spool_folder(settings: Settings) -> Path | None:
    """Return the folder of the disk buffer, or ``None`` if it is off."""
    if settings.spool == "off":
        return None
    if settings.spool:
        return Path(os.path.abspath(os.path.expanduser(settings.spool)))
    if variable("AWS_LAMBDA_FUNCTION_NAME"):  # only /tmp is writable there
        return Path("/tmp/llmtrace/spool")
    from platformdirs import user_state_dir

    return Path(user_state_dir("llmtrace")) / "spool"


@usable_environment()
def transport(name: str, signal: Signal = TRACES, endpoint: str | None = None) -> Transport:
    """Return the transport of an OTLP exporter of ``names()``.

    Raises:
        ConfigError: The exporter cannot be built.
    """
    grpc = name == "otlp_proto_grpc" or (
        name == "otlp" and first_variable(signal.variables("PROTOCOL"))[1].lower() == "grpc"
    )
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
