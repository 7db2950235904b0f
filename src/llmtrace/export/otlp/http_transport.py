"""HTTP transport: one POST per request, and the outcome that its response means. Retries are up to the sender.

Address, headers, certificates, timeout and compression are those that the OpenTelemetry exporters would use: each
exporter is built once, and the request that it makes is captured.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from email.utils import parsedate_to_datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ..._files import Descriptor
from ..._settings.environment import first_variable
from ..signals import Signal
from .destination import Destination, make_destination
from .encoder import OtlpEncoder
from .payload import Encoder, Payload
from .transport import Outcome, read_response

_RETRYABLE_STATUSES = frozenset({408, 425, 429})
_MAX_REQUEST_BYTES = 32 << 20
_MAX_RESPONSE_BYTES = 64 << 10
"""Maximum response bytes read."""
_closed_sessions: list[Any] = []
"""Sessions whose sockets the program has closed."""


class HttpTransport:
    """A transport to one URL."""

    limit = _MAX_REQUEST_BYTES
    """Maximum bytes of a request before compression."""

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        destination: Destination,
        encoder: Encoder,
        unit: str,
        timeout: float,
        encoding: str = "none",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        """Store the settings; the first request opens the connection. ``options`` are for ``requests``."""
        import requests  # here, because the sending thread must not import

        self._make_session: Callable[[], Any] = requests.Session
        self.url = url
        self.destination = destination
        self.encoder = encoder
        self.unit = unit
        self.timeout = timeout
        self.encoding = encoding
        self._headers = dict(headers)
        self._options = dict(options or {})
        self._session: Any = None
        self._marker: Descriptor | None = None
        """Opened with the session, so that it is closed with the session's connections if the program closes all."""

    def _accepted(self, body: bytes) -> Outcome:
        """Return the outcome of a 2xx response with this body."""
        return Outcome("accepted")

    def send(self, payload: Payload, timeout: float) -> Outcome:
        """Send the request once, within about ``timeout`` seconds."""
        try:
            return self._send(payload.encoded(self.encoding).body, timeout)
        except Exception as error:  # such as an unknown host name, a bad certificate or an invalid address
            return Outcome("retry", type(error).__name__)

    def _send(self, body: bytes, timeout: float) -> Outcome:
        self._drop_closed_session()
        if self._session is None:
            self._session, self._marker = self._make_session(), Descriptor.marker()
        deadline = time.monotonic() + timeout
        # Derive the key from the bytes: gateways that support the header drop a request that is sent twice.
        idempotency_key = hashlib.blake2b(body, digest_size=16).hexdigest()
        response = self._session.request(
            "POST",
            self.url,
            headers={**self._headers, "Idempotency-Key": idempotency_key},
            data=body,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
            **self._options,
        )
        with closing(response):
            if 200 <= response.status_code < 300:
                return self._accepted(_read_body(response, deadline))
            return _error_outcome(response)

    def _drop_closed_session(self) -> None:
        """Drop the session if the program has closed all descriptors, as daemons do.

        Keep the object: its sockets would close or write to files of the program that have the same numbers now.
        """
        if self._marker is not None and not self._marker.is_open:
            _closed_sessions.append(self._session)
            self._session = self._marker = None

    def after_fork(self) -> None:
        """Drop the session in a forked child: its connections belong to the parent."""
        self._session = None
        self._close_marker()

    def close(self) -> None:
        """Close the connections."""
        self._drop_closed_session()
        if self._session is not None:
            self._session.close()
        self._close_marker()

    def _close_marker(self) -> None:
        if self._marker is not None:
            self._marker.close()
            self._marker = None


def _read_body(response: Any, deadline: float) -> bytes:
    """Return the response body, truncated where it stalls: the 2xx status has already confirmed the request."""
    body = bytearray()
    with suppress(Exception):
        for chunk in response.iter_content(1):  # one byte, so that a stalled body does not block
            body += chunk
            if len(body) >= _MAX_RESPONSE_BYTES or time.monotonic() > deadline:
                break
    return bytes(body)


def _error_outcome(response: Any) -> Outcome:
    status = response.status_code
    status_text = f"http {status}"
    if status == 413:
        return Outcome("too_large", status_text)
    if status in _RETRYABLE_STATUSES or 500 <= status < 600:
        # OTLP names 429, 502, 503 and 504: https://opentelemetry.io/docs/specs/otlp/#failures-1.
        # Retry 500 too, because restarting backends send it. Mark it as poison, because this request may cause it.
        return Outcome(
            "retry",
            status_text,
            retry_after=_parse_retry_after(response.headers.get("Retry-After")),
            poison=status == 500,
        )
    return Outcome("refused", status_text)


def _parse_retry_after(retry_after: str | None) -> float | None:
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
    """OTLP with protobuf bodies, to the endpoint of the standard variables."""

    def __init__(self, signal: Signal, endpoint: str | None = None) -> None:
        captured = _capture_request(signal, None if endpoint is None else signal.path(endpoint))
        headers = {name: value for name, value in captured["headers"].items() if name.lower() != "content-length"}
        destination = make_destination(signal.name, "http", captured["address"], headers)
        if not captured["address"].lower().startswith(("http://", "https://")):
            raise ValueError(f"{signal.variables('ENDPOINT')[1]}: {destination.endpoint} has no http:// or https://")
        super().__init__(
            captured["url"],
            headers,
            destination=destination,
            encoder=OtlpEncoder(signal),
            unit=signal.unit,
            timeout=round(float(captured["timeout"] or 10.0), 1),  # the exporter passes the rest of its deadline
            encoding=headers.get("Content-Encoding") or "none",
            options={"verify": captured["verify"], "cert": captured["cert"], "proxies": captured["proxies"]},
        )
        self._signal = signal
        credential_provider = _credential_provider(signal)
        if credential_provider is not None:
            self._make_session = credential_provider.load()

    def _accepted(self, body: bytes) -> Outcome:
        """Return the outcome of a 2xx response, with the items that the backend rejected."""
        try:
            return read_response(self._signal, self._signal.response.FromString(body))
        except Exception:  # some backends send other bodies with a 200
            return Outcome("accepted")


def _credential_provider(signal: Signal) -> EntryPoint | None:
    """Return the configured OpenTelemetry credential provider, which creates the session, if any.

    Raises:
        ValueError: No provider of the configured name is installed.
    """
    prefix = "OTEL_PYTHON_EXPORTER_OTLP_HTTP_"
    own, general = f"{prefix}{signal.name.upper()}_CREDENTIAL_PROVIDER", f"{prefix}CREDENTIAL_PROVIDER"
    variable, name = first_variable((own, general))
    if not name:
        return None
    for provider in entry_points(group="opentelemetry_otlp_credential_provider", name=name):
        return provider
    raise ValueError(f"{variable}={name!r}: this credential provider is not installed; install it or unset {variable}")


def _capture_request(signal: Signal, endpoint: str | None) -> dict[str, Any]:
    """Return the URL, headers and options that OpenTelemetry's exporter would use.

    The exporter gets a session that captures its request instead of sending it.
    """
    import requests
    from opentelemetry.exporter.otlp.proto.http import Compression

    captured: dict[str, Any] = {}

    class _CapturingSession(requests.Session):
        def request(self, method: Any, url: Any, *args: Any, **options: Any) -> Any:
            captured["address"] = url
            return super().request(method, url, *args, **options)

        def send(self, request: Any, **options: Any) -> Any:
            captured.update(options, url=request.url, headers=request.headers)
            response = requests.Response()
            response.status_code, response.raw = 200, io.BytesIO()
            return response

    _, configured = first_variable(signal.variables("COMPRESSION"))
    session = _CapturingSession()
    exporter = signal.exporter_class("http")(
        endpoint=endpoint, session=session, compression=None if configured else Compression.Gzip
    )
    state = random.getstate()
    exporter.export(signal.exported([]))
    random.setstate(state)  # the exporter draws its backoff, and a program may have seeded the numbers it gets
    session.close()
    if "headers" not in captured:
        raise ValueError(f"requests cannot be sent to {captured.get('address', 'this address')!r}; check the endpoint")
    return captured
