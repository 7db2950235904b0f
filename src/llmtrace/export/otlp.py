"""Sending one encoded request over OTLP, once, and reading what the backend made of it.

Addresses, headers, certificates, timeout and compression are those the OpenTelemetry exporters themselves would use:
each is built once and asked. Retrying is not done here.
"""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, Protocol

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from .destination import Destination, bound_for
from .payload import Payload

__all__ = ["Grpc", "Http", "Outcome", "Transport"]

_COMPRESSIONS = ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION")
_CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)
_AGAIN = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one attempt."""

    kind: Literal["accepted", "retry", "too_large", "refused"]
    said: str = ""
    after: float | None = None
    """Seconds the backend asks us to wait."""
    rejected: int = 0
    """Spans of an accepted request that the backend did not take."""
    poison: bool = False
    """The failure may be the fault of this very request."""


class Transport(Protocol):
    """The way to one destination."""

    destination: Destination
    encoding: str
    """How payloads are compressed on this way."""
    timeout: float
    limit: int
    """Bytes a request may have before compression."""

    def send(self, payload: Payload, timeout: float) -> Outcome:
        """Send it, once, in about ``timeout`` seconds. Raises nothing."""
        ...

    def after_fork(self) -> None:
        """Forget connections, which belong to the parent."""
        ...

    def close(self) -> None: ...


class Http:
    """OTLP over HTTP with protobuf bodies."""

    def __init__(self) -> None:
        asked = _ask_http_exporter()
        self.limit = 32 << 20
        self.timeout = round(float(asked["timeout"] or 10.0), 1)  # it gives what is left of it
        self.encoding = asked["headers"].get("Content-Encoding") or "none"
        self._url: str = asked["url"]
        self._headers: dict[str, str] = {
            name: value for name, value in asked["headers"].items() if name.lower() != "content-length"
        }
        self._more = {"verify": asked["verify"], "cert": asked["cert"], "proxies": asked["proxies"]}
        self._session: Any = None
        self.destination = bound_for("traces", "http", asked["address"], self._headers)

    def send(self, payload: Payload, timeout: float) -> Outcome:
        import requests

        if self._session is None:
            self._session = _session()
        body = payload.encoded(self.encoding).body
        try:
            answer = self._session.request(
                "POST",
                self._url,
                headers=self._headers,
                data=body,
                timeout=timeout,
                allow_redirects=False,
                **self._more,
            )
        except requests.RequestException as error:
            return Outcome("retry", type(error).__name__)
        return _read_http(answer)

    def after_fork(self) -> None:
        self._session = None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def _read_http(answer: Any) -> Outcome:
    status = answer.status_code
    said = f"http {status}"
    if 200 <= status < 300:
        return _accepted(answer.content)
    if status == 413:
        return Outcome("too_large", said)
    if status in _AGAIN or 500 <= status < 600:
        # OTLP names 429, 502, 503 and 504. A backend that restarts also answers 500; so does one that chokes on this
        # very request, hence the mark.
        return Outcome("retry", said, after=_seconds(answer.headers.get("Retry-After")), poison=status == 500)
    return Outcome("refused", said)


def _accepted(body: bytes) -> Outcome:
    try:
        partial = ExportTraceServiceResponse.FromString(body).partial_success
    except Exception:  # backends answer all kinds of things with a 200
        return Outcome("accepted")
    return Outcome("accepted", partial.error_message[:200], rejected=max(0, partial.rejected_spans))


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _ask_http_exporter() -> dict[str, Any]:
    """What the exporter of OpenTelemetry would send with: it sends nothing to a session that keeps it instead."""
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    asked: dict[str, Any] = {}

    class Notebook(requests.Session):
        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            asked["address"] = url
            return super().request(method, url, *args, **options)

        def send(self, request: Any, **options: Any) -> Any:
            asked.update(options, url=request.url, headers=request.headers)
            answer = requests.Response()
            answer.status_code, answer._content = 200, b""
            return answer

    told = any(os.environ.get(name, "").strip() for name in _COMPRESSIONS)
    session = Notebook()
    exporter = OTLPSpanExporter(session=session, compression=None if told else Compression.Gzip)
    exporter.export([])
    session.close()
    if not asked:
        raise ValueError("the exporter could not be asked where it sends")
    return asked


def _session() -> Any:
    """A session, or the one that a credential provider of OpenTelemetry makes."""
    import requests

    name = next((name for variable in _CREDENTIALS if (name := os.environ.get(variable, "").strip())), None)
    if name is None:
        return requests.Session()
    from importlib.metadata import entry_points

    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        return provider.load()()
    raise ValueError(f"no credential provider named {name!r} is installed")


class Grpc:
    """OTLP over gRPC. The channel is made by the thread that sends, so that a program may fork before it."""

    encoding = "none"
    """gRPC compresses on its own."""

    def __init__(self) -> None:
        exporter = _grpc_exporter()
        self.limit = 4 << 20
        self.timeout = float(exporter._timeout)
        self._headers: tuple[tuple[str, str], ...] = tuple(exporter._headers)
        self.destination = bound_for("traces", "grpc", exporter._endpoint, dict(self._headers))
        exporter.shutdown()
        self._exporter: Any = None

    def send(self, payload: Payload, timeout: float) -> Outcome:
        import grpc

        if self._exporter is None:
            self._exporter = _grpc_exporter()
        request = ExportTraceServiceRequest.FromString(payload.raw())
        try:
            answer = self._exporter._client.Export(request=request, metadata=self._headers, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:  # a channel that lost its server may wait a minute to look
                self.close()
            return _read_grpc(error)
        partial = answer.partial_success
        return Outcome("accepted", partial.error_message[:200], rejected=max(0, partial.rejected_spans))

    def after_fork(self) -> None:
        self._exporter = None

    def close(self) -> None:
        exporter, self._exporter = self._exporter, None
        if exporter is not None:
            exporter.shutdown()


_GRPC_REFUSED = frozenset(
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


def _read_grpc(error: Any) -> Outcome:
    from google.rpc.error_details_pb2 import RetryInfo

    name = error.code().name
    said = f"grpc {name}"
    if name == "RESOURCE_EXHAUSTED" and "larger than max" in (error.details() or ""):
        return Outcome("too_large", said)
    if name in _GRPC_REFUSED:
        return Outcome("refused", said)
    after = None
    for key, value in error.trailing_metadata() or ():
        if key == "google.rpc.retryinfo-bin":
            delay = RetryInfo.FromString(value).retry_delay
            after = delay.seconds + delay.nanos / 1e9
    return Outcome("retry", said, after=after, poison=name in ("UNKNOWN", "INTERNAL"))


def _grpc_exporter() -> Any:
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter()
