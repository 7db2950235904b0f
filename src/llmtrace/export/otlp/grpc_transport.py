"""OTLP over gRPC, with the address, headers, certificates, timeout and compression of OpenTelemetry's own exporter."""

from __future__ import annotations

import os
import threading
from functools import cache
from typing import Any

import grpc
from google.rpc.error_details_pb2 import RetryInfo

from ..._settings.opentelemetry import usable_environment
from ..signals import Signal
from .destination import make_destination
from .encoder import OtlpEncoder
from .payload import Encoder, Payload
from .transport import Outcome

__all__ = ["OtlpGrpcTransport"]


_FORK_WAIT_SECONDS = 0.1
"""Seconds that a fork waits for a call to end. gRPC can only be forked cleanly between its calls."""


class _Calls:
    """The calls into gRPC that are under way, in all of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._held = False
        os.register_at_fork(before=self._before, after_in_parent=self._after, after_in_child=self._renew)

    def _before(self) -> None:
        self._held = self.lock.acquire(timeout=_FORK_WAIT_SECONDS)

    def _after(self) -> None:
        if self._held:
            self._held = False
            self.lock.release()

    def _renew(self) -> None:
        self.lock, self._held = threading.Lock(), False


@cache
def _calls() -> _Calls | None:
    return _Calls() if hasattr(os, "register_at_fork") else None


class OtlpGrpcTransport:
    """The channel is made by the thread that sends, and anew by the first one that does so in a forked child."""

    encoding = "none"
    """gRPC compresses on its own."""
    limit = 4 << 20

    def __init__(self, signal: Signal, endpoint: str | None = None) -> None:
        self._signal = signal
        self._address = endpoint
        self.form: Encoder = OtlpEncoder(signal)
        self.unit = signal.unit
        exporter = self._make()
        _ = exporter._client.Export  # has no public name: a release without it is reported now
        self.timeout = float(exporter._timeout)
        self._headers: tuple[tuple[str, str], ...] = tuple(exporter._headers)
        self.destination = make_destination(signal.name, "grpc", exporter._endpoint, dict(self._headers))
        exporter.shutdown()
        self._exporter: Any = None
        self._calls = _calls()

    def _make(self) -> Any:
        from grpc import Compression

        names = self._signal.variables("COMPRESSION")
        gzip = next((value for name in names if (value := os.environ.get(name, "").strip().lower())), "") == "gzip"
        # The exporter knows gzip alone, and raises at "none".
        compression = Compression.Gzip if gzip else Compression.NoCompression
        with usable_environment():
            return self._signal.exporter_class("grpc")(endpoint=self._address, compression=compression)

    def send(self, payload: Payload, timeout: float) -> Outcome:
        if self._calls is None:
            return self._send(payload, timeout)
        with self._calls.lock:
            return self._send(payload, timeout)

    def _send(self, payload: Payload, timeout: float) -> Outcome:
        if self._exporter is None:
            self._exporter = self._make()
        request = self._signal.request.FromString(payload.raw())
        try:
            answer = self._exporter._client.Export(request=request, metadata=self._headers, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:  # a channel that lost its server may wait a minute to look
                self.close()
            return _not_accepted(error)
        partial = answer.partial_success
        rejected = max(0, getattr(partial, self._signal.rejected))
        return Outcome("accepted", partial.error_message[:200], rejected=rejected)

    def after_fork(self) -> None:
        self._exporter = None

    def close(self) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.shutdown()


_REFUSED = frozenset(
    {
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "FAILED_PRECONDITION",
        "UNIMPLEMENTED",
    }
)


def _not_accepted(error: Any) -> Outcome:
    name = error.code().name
    said = f"grpc {name}"
    if name == "RESOURCE_EXHAUSTED" and "larger than max" in (error.details() or ""):
        return Outcome("too_large", said)
    if name in _REFUSED:
        return Outcome("refused", said)
    after = None
    for key, value in error.trailing_metadata() or ():
        if key == "google.rpc.retryinfo-bin":
            delay = RetryInfo.FromString(value).retry_delay
            after = delay.seconds + delay.nanos / 1e9
    return Outcome("retry", said, after=after, poison=name in ("UNKNOWN", "INTERNAL"))
