"""Spans of the local store on to an OTLP endpoint: encoded, bridged and transported as live ones are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._settings import ConfigError, Settings
from ..export.bridging import bridges_for, translate
from ..export.otlp.payload import Payload, Unencodable
from ..export.otlp.transport import Transport
from ..export.routes import names, protocol, transport, variable
from ..export.signals import TRACES
from ..store.schema import StoreError

__all__ = ["Resender", "resender"]

_PATIENCE_SECONDS = 15.0
"""How long a request is tried again, as a backend that is busy asks for."""
_PAUSE_SECONDS = 0.5


class Resender(SpanExporter):
    """Sends batches over one transport, each to its end before the next."""

    def __init__(self, way: Transport, bridges: Sequence[str], address: str) -> None:
        self.way = way
        self.bridges = tuple(bridges)
        self.address = address
        """Where to, without credentials."""
        self.said = ""
        """What the backend last answered to a request that it did not take."""
        self.left_out = 0
        """Spans that cannot be encoded, are too large, or were rejected one by one."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        batch = translate(spans, self.bridges)
        # All are tried before the batch counts as sent.
        sent = [self._part(part) for part in self.way.encoder.encode(batch, self.way.limit, self.way.encoding)]
        return SpanExportResult.SUCCESS if all(sent) else SpanExportResult.FAILURE

    def _part(self, part: Payload | Unencodable) -> bool:
        if isinstance(part, Unencodable):
            self.left_out += part.items
            return True
        return self._deliver(part)

    def _deliver(self, payload: Payload) -> bool:
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            outcome = self.way.send(payload, self.way.timeout)
            if outcome.kind == "accepted":
                self.left_out += min(outcome.rejected, payload.items)
                return True
            if outcome.kind == "too_large":
                halves = self.way.encoder.split(payload)
                self.left_out += 0 if halves else payload.items
                return all([self._deliver(half) for half in halves])
            self.said = outcome.message
            pause = max(_PAUSE_SECONDS, outcome.retry_after or 0.0)
            if outcome.kind == "refused" or time.monotonic() + pause > give_up:
                return False
            time.sleep(pause)

    def shutdown(self) -> None:
        self.way.close()


def resender(settings: Settings, endpoint: str | None = None) -> Resender:
    """Return the exporter to an address, or to where the standard variables say, with the bridges of that address.

    Raises:
        StoreError: Nothing says where to.
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    own, general = TRACES.variables("ENDPOINT")
    address = endpoint or variable(own) or variable(general)
    if not address:
        raise StoreError("where to? Set OTEL_EXPORTER_OTLP_ENDPOINT, or give --endpoint http://collector:4318")
    name = next((each for each in names(settings) if each.startswith("otlp")), "otlp")
    with _overridden(own, _url(endpoint, name) if endpoint else None):
        try:
            way = transport(name)
        except ConfigError as error:
            raise ConfigError(f"--endpoint {endpoint!r} is not accepted: {error}" if endpoint else str(error)) from None
    return Resender(way, bridges_for(settings.bridges, way.destination.endpoint), _without_account(address))


def _url(endpoint: str, name: str) -> str:
    grpc = name == "otlp_proto_grpc" or (name == "otlp" and protocol(TRACES) == "grpc")
    return endpoint if grpc or "/v1/traces" in endpoint else f"{endpoint.rstrip('/')}/v1/traces"


def _without_account(address: str) -> str:
    if "@" not in address and "?" not in address:
        return address
    url = urlsplit(address)
    return urlunsplit((url.scheme, url.netloc.rpartition("@")[2], url.path, "", ""))


@contextmanager
def _overridden(name: str, value: str | None) -> Iterator[None]:
    """Set a variable, which OpenTelemetry's exporters read when they are made, while the block runs."""
    before = os.environ.get(name)
    if value is not None:
        os.environ[name] = value
    try:
        yield
    finally:
        if before is not None:
            os.environ[name] = before
        elif value is not None:
            del os.environ[name]
