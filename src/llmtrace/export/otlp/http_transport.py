"""Posting one encoded request, once, and reading what the backend made of it. Retrying is not done here.

Addresses, headers, certificates, timeout and compression are those the OpenTelemetry exporters themselves would use:
each is built once and asked.
"""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..signals import Signal
from .destination import Destination, make_destination
from .encoder import OtlpEncoder
from .payload import Encoder, Payload
from .transport import Outcome

__all__ = ["HttpTransport", "OtlpHttpTransport"]

_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_MAX_REQUEST_BYTES = 32 << 20
_MAX_RESPONSE_BYTES = 64 << 10
"""As much of an answer as is read."""


class HttpTransport:
    """The way to one address."""

    limit = _MAX_REQUEST_BYTES

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        destination: Destination,
        form: Encoder,
        unit: str,
        timeout: float,
        encoding: str = "none",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Set up; nothing is connected before the first request.

        Args:
            url: Where requests go.
            headers: Sent with each.
            destination: What requests on disk are bound to.
            form: How batches become requests.
            unit: What is counted.
            timeout: Seconds for one request.
            encoding: How requests are compressed.
            options: Of ``requests``: certificates and proxies.
        """
        import requests  # here: the thread that sends imports nothing

        self._make_session: Callable[[], Any] = requests.Session
        self.url = url
        self.destination = destination
        self.form = form
        self.unit = unit
        self.timeout = timeout
        self.encoding = encoding
        self._headers = dict(headers)
        self._options = dict(options or {})
        self._session: Any = None

    def _accepted(self, body: bytes) -> Outcome:
        """Reads the answer that came with a 2xx."""
        return Outcome("accepted")

    def send(self, payload: Payload, timeout: float) -> Outcome:
        try:
            return self._send(payload.encoded(self.encoding).body, timeout)
        except Exception as error:  # a name that cannot be resolved, a certificate, an address that means nothing
            return Outcome("retry", type(error).__name__)

    def _send(self, body: bytes, timeout: float) -> Outcome:
        if self._session is None:
            self._session = self._make_session()
        deadline = time.monotonic() + timeout
        # The same for the same bytes: a gateway that knows the header recognises a request that comes twice.
        key = hashlib.blake2b(body, digest_size=16).hexdigest()
        answer = self._session.request(
            "POST",
            self.url,
            headers={**self._headers, "Idempotency-Key": key},
            data=body,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
            **self._options,
        )
        with closing(answer):
            if 200 <= answer.status_code < 300:
                return self._accepted(_read(answer, deadline))
            return _error_outcome(answer)

    def after_fork(self) -> None:
        self._session = None

    def close(self) -> None:
        if self._session is not None:
            self._session.close()


def _read(answer: Any, deadline: float) -> bytes:
    """What was answered; without its end when that does not come. The request has arrived whatever it says."""
    body = bytearray()
    with suppress(Exception):
        for piece in answer.iter_content(1):  # waits for no more than there is
            body += piece
            if len(body) >= _MAX_RESPONSE_BYTES or time.monotonic() > deadline:
                break
    return bytes(body)


def _error_outcome(answer: Any) -> Outcome:
    status = answer.status_code
    said = f"http {status}"
    if status == 413:
        return Outcome("too_large", said)
    if status in _RETRYABLE_STATUSES or 500 <= status < 600:
        # OTLP names 429, 502, 503 and 504. A backend that restarts also answers 500; so does one that chokes on this
        # very request, hence the mark.
        return Outcome("retry", said, after=_seconds(answer.headers.get("Retry-After")), poison=status == 500)
    return Outcome("refused", said)


def _seconds(retry_after: str | None) -> float | None:
    if retry_after is None:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


class OtlpHttpTransport(HttpTransport):
    """OTLP with protobuf bodies, to where the standard variables say."""

    def __init__(self, signal: Signal, endpoint: str | None = None) -> None:
        asked = _ask(signal, None if endpoint is None else signal.path(endpoint))
        headers = {name: value for name, value in asked["headers"].items() if name.lower() != "content-length"}
        destination = make_destination(signal.name, "http", asked["address"], headers)
        if not asked["address"].lower().startswith(("http://", "https://")):
            raise ValueError(f"{signal.variables('ENDPOINT')[1]}: {destination.endpoint} has no http:// or https://")
        super().__init__(
            asked["url"],
            headers,
            destination=destination,
            form=OtlpEncoder(signal),
            unit=signal.unit,
            timeout=round(float(asked["timeout"] or 10.0), 1),  # it gives what is left of it
            encoding=headers.get("Content-Encoding") or "none",
            options={"verify": asked["verify"], "cert": asked["cert"], "proxies": asked["proxies"]},
        )
        self._signal = signal
        credentials = _credential_provider(signal)
        if credentials is not None:
            self._make_session = credentials.load()

    def _accepted(self, body: bytes) -> Outcome:
        try:
            partial = self._signal.response.FromString(body).partial_success
        except Exception:  # backends answer all kinds of things with a 200
            return Outcome("accepted")
        rejected = max(0, getattr(partial, self._signal.rejected))
        return Outcome("accepted", partial.error_message[:200], rejected=rejected)


def _credential_provider(signal: Signal) -> EntryPoint | None:
    """What makes the session, if a credential provider of OpenTelemetry is to.

    Raises:
        ValueError: There is none of that name.
    """
    prefix = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"
    variables = (f"{prefix}{signal.name.upper()}_CREDENTIAL_PROVIDER", f"{prefix}CREDENTIAL_PROVIDER")
    name = next((name for variable in variables if (name := os.environ.get(variable, "").strip())), None)
    if name is None:
        return None
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        return provider
    raise ValueError(f"no credential provider named {name!r} is installed")


def _ask(signal: Signal, endpoint: str | None) -> dict[str, Any]:
    """What the exporter of OpenTelemetry would send with: it sends nothing to a session that keeps it instead."""
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression

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

    told = any(os.environ.get(name, "").strip() for name in signal.variables("COMPRESSION"))
    session = Notebook()
    exporter = signal.exporter_class("http")(
        endpoint=endpoint, session=session, compression=None if told else Compression.Gzip
    )
    exporter.export(signal.exported([]))
    session.close()
    if "headers" not in asked:
        raise ValueError(f"nothing can be sent to {asked.get('address', 'this address')!r}")
    return asked
