"""OTLP over gRPC, with the address, headers, certificates, timeout and compression of OpenTelemetry's own exporter."""

from __future__ import annotations

from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from ..._compat.otlp_exporters import grpc_settings, grpc_stub
from ..._process import ForkHeldLock
from ..._settings.environment import first_variable
from ..._settings.opentelemetry import usable_environment
from ..signals import Signal
from .destination import Destination, make_destination
from .encoder import OtlpEncoder
from .payload import Encoder, Payload
from .transport import Outcome, read_response

_FORK_WAIT_SECONDS = 0.1
"""Seconds that a fork waits for a gRPC call to end. gRPC supports forks only between calls."""


_open_call = ForkHeldLock(_FORK_WAIT_SECONDS)
"""Held by each gRPC call of this process."""


class OtlpGrpcTransport:
    """OTLP over gRPC. The sending thread opens the channel, and a forked child opens its own."""

    encoding = "none"
    """Encoding of spooled payloads: none, because gRPC compresses by itself."""
    limit = 4 << 20

    def __init__(self, signal: Signal, endpoint: str | None = None) -> None:
        self._signal = signal
        self._endpoint = endpoint
        self.encoder: Encoder = OtlpEncoder(signal)
        self.unit: str = signal.unit
        exporter = self._make_exporter()
        endpoint, self._headers, timeout = grpc_settings(exporter)
        self.timeout: float = timeout
        self.destination: Destination = make_destination(signal.name, "grpc", endpoint, dict(self._headers))
        exporter.shutdown()
        self._exporter: Any = None

    def _make_exporter(self) -> Any:
        gzip = first_variable(self._signal.variables("COMPRESSION"))[1].lower() == "gzip"
        # Map the variable here: the exporter accepts only gzip, and raises on "none".
        compression = grpc.Compression.Gzip if gzip else grpc.Compression.NoCompression
        with usable_environment():
            return self._signal.exporter_class("grpc")(endpoint=self._endpoint, compression=compression)

    def send(self, payload: Payload, timeout: float) -> Outcome:
        """Send the request once, within about ``timeout`` seconds."""
        with _open_call:
            return self._send(payload, timeout)

    def _send(self, payload: Payload, timeout: float) -> Outcome:
        if self._exporter is None:
            self._exporter = self._make_exporter()
        request = self._signal.request.FromString(payload.raw())
        try:
            response = grpc_stub(self._exporter)(request=request, metadata=self._headers, timeout=timeout)
        except grpc.RpcError as error:
            # Open a new channel: one that lost its server may wait a minute before it reconnects.
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self.close()
            return _error_outcome(error)
        return read_response(self._signal, response)

    def after_fork(self) -> None:
        """Drop the channel in a forked child: it belongs to the parent."""
        self._exporter = None

    def close(self) -> None:
        """Close the channel. The next ``send`` opens a new one."""
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.shutdown()


# https://opentelemetry.io/docs/specs/otlp/#failures
_PERMANENT_CODES = frozenset({"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED",
                              "UNAUTHENTICATED", "FAILED_PRECONDITION", "UNIMPLEMENTED"})  # fmt: skip


def _error_outcome(error: Any) -> Outcome:
    name = error.code().name
    status_text = f"grpc {name}"
    if name == "RESOURCE_EXHAUSTED" and "larger than max" in (error.details() or ""):
        return Outcome("too_large", status_text)
    if name in _PERMANENT_CODES:
        return Outcome("refused", status_text)
    retry_after = None
    for key, value in error.trailing_metadata() or ():
        if key == "google.rpc.retryinfo-bin":
            delay = RetryInfo.FromString(value).retry_delay
            retry_after = delay.seconds + delay.nanos / 1e9
    return Outcome("retry", status_text, retry_after=retry_after, poison=name in ("UNKNOWN", "INTERNAL"))
