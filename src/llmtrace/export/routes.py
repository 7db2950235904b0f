"""Which exporters the environment asks for, and how each is reached."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SpanExporter

from .._config import ConfigError, Settings
from ..store.schema import locate
from ..store.sent import Sent
from .batches import ExporterSink, Sink
from .bridged import Bridged, bridges_for
from .ledger import Ledger
from .otlp import Grpc, Http, Transport

__all__ = ["Route", "names", "open_route", "spool_folder", "store_path", "transport", "variable"]

_log = logging.getLogger("llmtrace")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_EXPORTERS = ("otlp", "otlp_proto_http", "otlp_proto_grpc", "console", "none")
_DEFAULT = "local"
_MEMORY = 64 << 20


class Route:
    """One way that spans take."""

    __slots__ = ("announced", "ledger", "sink", "where")

    def __init__(self, sink: Sink, ledger: Ledger, where: str, *, announced: bool = False) -> None:
        self.announced = announced
        """Whether the program's user is told, in one line on stderr."""
        self.sink = sink
        self.ledger = ledger
        self.where = where
        """For people: an address or a path, without credentials."""


def variable(name: str) -> str:
    return os.environ.get(name, "").strip()


def names(settings: Settings) -> list[str]:
    """The exporters in force: those that ``OTEL_TRACES_EXPORTER`` names, OTLP if an endpoint is set, or our own.

    Raises:
        ConfigError: A name that means nothing.
    """
    told = [name for part in variable("OTEL_TRACES_EXPORTER").split(",") if (name := part.strip().lower())]
    for name in told:
        if name not in _EXPORTERS:
            raise ConfigError(f"OTEL_TRACES_EXPORTER={name!r} is not accepted; use {', '.join(_EXPORTERS)}")
    if not told and any(map(variable, _ENDPOINTS)):
        told = ["otlp"]
    if told:
        return [name for name in dict.fromkeys(told) if name != "none"]
    return [] if settings.store == "off" else [_DEFAULT]


def open_route(name: str, settings: Settings, sent: Sent | None = None) -> Route:
    """Build one of ``names()``.

    Raises:
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    ledger = Ledger()
    if name == _DEFAULT:
        return _local(settings, ledger, sent)
    if name == "console":
        return Route(ExporterSink(ConsoleSpanExporter(), ledger), ledger, "the console")
    return _otlp(transport(name), settings, ledger)


def _local(settings: Settings, ledger: Ledger, sent: Sent | None) -> Route:
    """Where spans go with nothing configured: the store, or, where a path says so, JSON lines that others read."""
    path = store_path(settings)
    exporter: SpanExporter
    if path.suffix == ".jsonl":
        from .jsonlines import JsonLinesExporter

        exporter = JsonLinesExporter(path)
    else:
        from ..store.exporter import StoreExporter

        exporter = StoreExporter(path, max_mb=settings.store_max_mb, max_days=settings.store_max_days, sent=sent)
    return Route(ExporterSink(exporter, ledger), ledger, str(path), announced=True)


def store_path(settings: Settings) -> Path:
    """The file of the local store."""
    return locate(settings.store)


def _otlp(way: Transport, settings: Settings, ledger: Ledger) -> Route:
    from .buffers import Buffer, Memory
    from .outbox import Outbox
    from .spool import Spool

    folder = spool_folder(settings)
    buffer: Buffer
    if folder is None:
        buffer = Memory(_MEMORY, ledger)
    else:
        buffer = Spool(folder, way.destination, settings.spool_max_mb << 20, ledger)
    endpoint = way.destination.endpoint
    outbox = Outbox(buffer, way, ledger)
    bridges = bridges_for(settings.bridges, endpoint)
    return Route(Bridged(outbox, bridges) if bridges else outbox, ledger, endpoint)


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


def transport(name: str) -> Transport:
    """The way that an OTLP exporter of ``names()`` takes.

    Raises:
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    grpc = name == "otlp_proto_grpc" or (name == "otlp" and _protocol() == "grpc")
    try:
        return Grpc() if grpc else Http()
    except ImportError as error:
        raise ConfigError(f"the OTLP exporter is missing ({error}); pip install opentelemetry-exporter-otlp") from error
    except Exception as error:
        raise ConfigError(f"an OTEL_EXPORTER_OTLP_* variable is not accepted: {error}") from error


def _protocol() -> str:
    for name in _PROTOCOLS:
        value = variable(name).lower()
        if value in ("grpc", "http/protobuf"):
            return value
        if value:
            raise ConfigError(f"{name}={value!r} is not accepted; use grpc or http/protobuf")
    return "http/protobuf"
