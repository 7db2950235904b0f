"""Transfer of stored spans to an OTLP endpoint, encoded, bridged and sent as live spans are."""

from __future__ import annotations

import time
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from .._settings import ConfigError, Settings
from .._settings.environment import first_variable
from ..export.bridging import bridges_for, translate
from ..export.otlp.payload import Payload, Unencodable
from ..export.otlp.transport import Transport
from ..export.routes import Routes, transport
from ..export.signals import TRACES
from ..store.schema import StoreError
from .terminal import without_credentials

_PATIENCE_SECONDS = 15.0
"""Maximum time for retries of one request to a busy backend."""
_PAUSE_SECONDS = 0.5


class Resender(SpanExporter):
    """Exporter that sends one batch after the other over one transport."""

    def __init__(self, transport: Transport, bridges: Sequence[str], address: str) -> None:
        self.transport = transport
        self.bridges: tuple[str, ...] = tuple(bridges)
        self.address = address
        """Address of the backend, without credentials."""
        self.last_message: str = ""
        """Last response of the backend to a request that it did not accept."""
        self.left_out: int = 0
        """Number of spans that cannot be encoded, are too large, or were rejected individually."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send a batch and return ``FAILURE`` if the backend did not accept a part of it."""
        batch = translate(spans, self.bridges)
        # Send all parts, even after a failure.
        sent = [
            self._part(part)
            for part in self.transport.encoder.encode(batch, self.transport.limit, self.transport.encoding)
        ]
        return SpanExportResult.SUCCESS if all(sent) else SpanExportResult.FAILURE

    def _part(self, part: Payload | Unencodable) -> bool:
        if isinstance(part, Unencodable):
            self.left_out += part.items
            return True
        return self._deliver(part)

    def _deliver(self, payload: Payload) -> bool:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            outcome = self.transport.send(payload, self.transport.timeout)
            if outcome.kind == "accepted":
                self.left_out += min(outcome.rejected, payload.items)
                return True
            if outcome.kind == "too_large":
                halves = self.transport.encoder.split(payload)
                self.left_out += 0 if halves else payload.items
                return all([self._deliver(half) for half in halves])
            self.last_message = outcome.message
            pause = max(_PAUSE_SECONDS, outcome.retry_after or 0.0)
            if outcome.kind == "refused" or time.monotonic() + pause > deadline:
                return False
            time.sleep(pause)

    def shutdown(self) -> None:
        """Close the transport."""
        self.transport.close()


def resender(settings: Settings, endpoint: str | None = None) -> Resender:
    """Return the exporter to ``endpoint``, or else to that of the standard variables, with its bridges.

    Raises:
        StoreError: No endpoint is set.
        ConfigError: A variable of the exporter has a value that it does not accept.
    """
    address = endpoint or first_variable(TRACES.variables("ENDPOINT"))[1]
    if not address:
        raise StoreError("no endpoint is set: set OTEL_EXPORTER_OTLP_ENDPOINT, or use --endpoint http://collector:4318")
    name = next((exporter for exporter in Routes(settings).names() if exporter.startswith("otlp")), "otlp")
    try:
        otlp = transport(name, TRACES, endpoint)
    except ConfigError as error:
        raise ConfigError(f"--endpoint {endpoint!r} is not valid: {error}" if endpoint else str(error)) from None
    return Resender(otlp, bridges_for(settings.bridges, otlp.destination.endpoint), without_credentials(address))
