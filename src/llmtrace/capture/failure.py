"""Status, code and type of the exception that ended a call."""

from __future__ import annotations

from typing import Any

from .._read import get

_NEVER_SENT = frozenset({
    "AzureError", "BotoCoreError", "ClientConnectorError", "ClientHttpProxyError", "ConnectError", "ConnectTimeout",
    "ConnectTimeoutError", "ConnectionRefusedError", "ConnectionTimeoutError", "GoogleAuthError", "InvalidURL",
    "LocalProtocolError", "NewConnectionError", "PoolTimeout", "ProxyError", "SSLCertVerificationError",
    "UnsupportedProtocol", "gaierror",
})  # fmt: skip
"""Names of exception classes that are raised before a request is sent.

They belong to HTTP clients, credential providers and Python. Names, because none of the libraries is imported.
"""
_SENT = frozenset({"HTTPClientError", "IncompleteReadError"})
"""Names of botocore's exceptions for a lost connection. Their base class is that of errors before a request."""
_TRANSPORTS = frozenset({"aiohttp", "h11", "h2", "httpcore", "httpcore2", "httpx", "httpx2", "urllib3"})
_MAX_CAUSES = 16
_STATUSES = ("status_code", "http_status", "status")
"""Attributes with the HTTP status in the exceptions of libraries and HTTP clients."""


def qualified_name(kind: type[BaseException]) -> str:
    """Return the class name with its module, without ``builtins``."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_type(error: BaseException) -> str:
    """Return the HTTP error status if there is one, else the qualified class name of the exception."""
    status = http_status(error)
    return qualified_name(type(error)) if status is None else str(status)


def http_status(error: BaseException) -> int | None:
    """Return the HTTP error status, or ``None`` for an error inside a stream that began with a success status."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):  # botocore
        status = get(get(response, "ResponseMetadata"), "HTTPStatusCode")
        return status if type(status) is int and 400 <= status < 600 else None
    response_status = getattr(response, "status_code", None)
    if isinstance(response_status, int) and response_status < 400:
        return None
    status = next((value for name in _STATUSES if type(value := getattr(error, name, None)) is int), None)
    if status is None and not hasattr(error, "body"):
        status = _code(error)  # google-genai; with a body, ``code`` is the body's own code
    if status is None:
        status = response_status
    return status if type(status) is int and 400 <= status < 600 else None


def _code(error: BaseException) -> Any:
    # aiohttp, which has the status as a number, and websockets, whose code is that of a close, warn when it is read.
    deprecated = type(getattr(error, "status", None)) is int or hasattr(error, "rcvd")
    return None if deprecated else getattr(error, "code", None)


def may_have_been_sent(error: BaseException) -> bool:
    """Return False if ``error`` was raised before the request was sent: the provider did no work."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        names = {kind.__name__ for kind in type(cause).__mro__}
        if not names.isdisjoint(_SENT):
            return True
        if not names.isdisjoint(_NEVER_SENT):
            return False
        # The first transport error decides. Its context may be an unrelated error that the application was handling.
        if _is_of_transport(cause, names):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    # SDKs set ``request`` on errors of their HTTP client, but not on errors raised before.
    own = getattr(error, "__dict__", {})
    return own.get("request") is not None or own.get("response") is not None


def _is_of_transport(error: BaseException, names: set[str]) -> bool:
    package = type(error).__module__.partition(".")[0]
    if package == "requests" or "MaxRetryError" in names:
        return False  # a wrapper: its cause shows if there was a connection
    return isinstance(error, (ConnectionError, TimeoutError)) or "SSLError" in names or package in _TRANSPORTS


def error_code(error: BaseException) -> str | None:
    """Return the vendor's machine-readable code or type of an error."""
    inner = _inner(getattr(error, "body", None))
    codes = (
        _code(error),
        get(get(getattr(error, "response", None), "Error"), "Code"),  # botocore
        inner.get("code"),
        getattr(error, "type", None),
        inner.get("type"),
        getattr(error, "status", None),
    )
    text = next((code for code in codes if isinstance(code, str) and code), None)
    # A number counts only in the body: google-genai uses the attribute ``code`` for the HTTP status.
    number = inner.get("code") if text is None else None
    return str(number) if type(number) is int else text


def error_event(error: BaseException) -> Any:
    """Return the stream event for which an SDK raised ``error``; it may report the usage.

    The exception holds only a part of the event. The openai SDK has the complete event in the local variable ``data``
    of the frame that raised the exception.
    """
    body, frames = getattr(error, "body", None), error.__traceback__
    if body is None or frames is None:
        return None
    while frames.tb_next is not None:
        frames = frames.tb_next
    event = frames.tb_frame.f_locals.get("data")
    return event if isinstance(event, dict) and event.get("error") is body else None


def _inner(body: Any) -> dict[str, Any]:
    inner = body.get("error", body) if isinstance(body, dict) else None
    return inner if isinstance(inner, dict) else {}
