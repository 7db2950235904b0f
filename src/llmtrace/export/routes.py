"""Which exporters the environment asks for, and how each is reached."""

from __future__ import annotations

import logging
import os
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from .._config import ConfigError, Settings
from ..store.schema import locate
from ..store.sent import Sent
from .batches import ExporterSink, Limits, Sink
from .bridged import Bridged, bridges_for
from .ledger import Ledger
from .signals import LOGS, METRICS, TRACES, Signal
from .transport import Transport

__all__ = [
    "LOCAL",
    "Route",
    "names",
    "open_route",
    "outbox",
    "protocol",
    "spool_folder",
    "store_path",
    "transport",
    "variable",
]

_log = logging.getLogger("llmtrace")
_EXPORTERS = ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none")
_PULLED = "prometheus"
"""A standard name of a metric exporter that nothing is sent to: for the provider that an application sets itself."""
LOCAL = "local"
_MEMORY = 64 << 20


class Route:
    """One way that a signal takes."""

    __slots__ = ("announced", "ledger", "like", "sink", "where")

    def __init__(self, sink: Sink, ledger: Ledger, where: str, *, like: Any = None, announced: bool = False) -> None:
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


def names(settings: Settings, signal: Signal = TRACES) -> list[str]:
    """The exporters in force: those that ``OTEL_<SIGNAL>_EXPORTER`` names, or OTLP if an endpoint is set.

    Metrics and logs are exported when they are asked for by name: an endpoint for all signals asks for traces, as many
    backends take nothing else. Spans that are bound for nowhere go to the local store.

    Raises:
        ConfigError: A name that means nothing.
    """
    asks = f"OTEL_{signal.name.upper()}_EXPORTER"
    told = [name for part in variable(asks).split(",") if (name := part.strip().lower())]
    for name in told:
        if name not in (*_EXPORTERS, _PULLED) and _entry(name, signal) is None:
            raise ConfigError(f"{asks}={name!r} is not accepted; use {', '.join(_EXPORTERS)}")
    own, general = signal.variables("ENDPOINT")
    if not told and (variable(own) or (signal is TRACES and variable(general))):
        told = ["otlp"]
    if told:
        return [name for name in dict.fromkeys(told) if name not in ("none", _PULLED)]
    return [LOCAL] if signal is TRACES and settings.store != "off" else []


def _entry(name: str, signal: Signal) -> EntryPoint | None:
    """An exporter that another distribution brings."""
    return next(iter(entry_points(group=f"opentelemetry_{signal.name}_exporter", name=name)), None)


def open_route(name: str, settings: Settings, signal: Signal = TRACES, sent: Sent | None = None) -> Route:
    """Build one of ``names()``.

    Raises:
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    ledger = Ledger(signal.unit)
    if name == LOCAL:
        return _local(settings, ledger, sent)
    if name.startswith("otlp"):
        return _otlp(transport(name, signal), settings, ledger, signal)
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


def _local(settings: Settings, ledger: Ledger, sent: Sent | None) -> Route:
    """Where spans go with nothing configured: the store, or, where a path says so, JSON lines that others read."""
    path = store_path(settings)
    sink: Sink
    if path.suffix == ".jsonl":
        from .jsonlines import JsonLinesExporter

        sink = ExporterSink(JsonLinesExporter(path), ledger, TRACES)
    else:
        from ..store.exporter import StoreExporter
        from .store_sink import StoreSink

        exporter = StoreExporter(path, max_mb=settings.store_max_mb, max_days=settings.store_max_days, sent=sent)
        sink = StoreSink(exporter, ledger)
    return Route(sink, ledger, str(path), announced=True)


def store_path(settings: Settings) -> Path:
    """The file of the local store."""
    return locate(settings.store)


def _otlp(way: Transport, settings: Settings, ledger: Ledger, signal: Signal) -> Route:
    endpoint = way.destination.endpoint
    sink: Sink = outbox(way, settings, ledger)
    if signal is TRACES and (bridges := bridges_for(settings.bridges, endpoint)):
        sink = Bridged(sink, bridges)
    # Temporality and aggregation are the same over HTTP and gRPC, where asking would open a channel.
    like = METRICS.exporter_class("http")() if signal is METRICS else None
    return Route(sink, ledger, endpoint, like=like)


def outbox(way: Transport, settings: Settings, ledger: Ledger) -> Sink:
    """Sends on this way, from the spool or, where that is off, from memory."""
    from .buffers import Buffer, Memory
    from .outbox import Outbox
    from .spool import Spool

    folder = spool_folder(settings)
    buffer: Buffer
    if folder is None:
        buffer = Memory(_MEMORY, ledger)
    else:
        buffer = Spool(folder, way.destination, settings.spool_max_mb << 20, ledger)
    return Outbox(buffer, way, ledger, keeps=folder is not None, pace=Limits().delay)


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


def transport(name: str, signal: Signal = TRACES) -> Transport:
    """The way that an OTLP exporter of ``names()`` takes.

    Raises:
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    grpc = name == "otlp_proto_grpc" or (name == "otlp" and protocol(signal) == "grpc")
    try:
        if grpc:
            from .over_grpc import Grpc

            return Grpc(signal)
        from .over_http import OtlpPost

        return OtlpPost(signal)
    except ImportError as error:
        raise ConfigError(f"the OTLP exporter is missing ({error}); pip install opentelemetry-exporter-otlp") from error
    except Exception as error:
        raise ConfigError(f"an OTEL_EXPORTER_OTLP_* variable is not accepted: {error}") from error


def protocol(signal: Signal) -> str:
    """What ``otlp`` is spoken over.

    Raises:
        ConfigError: A value that means nothing.
    """
    for name in signal.variables("PROTOCOL"):
        value = variable(name).lower()
        if value in ("grpc", "http/protobuf"):
            return value
        if value:
            raise ConfigError(f"{name}={value!r} is not accepted; use grpc or http/protobuf")
    return "http/protobuf"
