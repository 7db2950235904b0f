"""What an exception says of the call it ended."""

from __future__ import annotations

from typing import Any

__all__ = ["error_code", "error_event", "error_type", "http_status", "may_have_been_sent"]

_NEVER_SENT = frozenset(
    {
        "AzureError",
        "BotoCoreError",
        "ClientConnectorError",
        "ClientHttpProxyError",
        "ConnectError",
        "ConnectTimeout",
        "ConnectTimeoutError",
        "ConnectionRefusedError",
        "ConnectionTimeoutError",
        "GoogleAuthError",
        "InvalidURL",
        "LocalProtocolError",
        "NewConnectionError",
        "PoolTimeout",
        "ProxyError",
        "SSLCertVerificationError",
        "UnsupportedProtocol",
        "gaierror",
    }
)
"""Classes of HTTP clients, of credential providers and of Python that are raised before a request leaves.

By name, as none of them is imported.
"""
_TRANSPORTS = frozenset({"aiohttp", "h11", "h2", "httpcore", "httpcore2", "httpx", "httpx2", "urllib3"})
_MAX_CAUSES = 16


def qualified_name(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_type(error: BaseException) -> str:
    """The HTTP status of a refusal, else the qualified name of the class."""
    status = http_status(error)
    return qualified_name(type(error)) if status is None else str(status)


def http_status(error: BaseException) -> int | None:
    """The status of the answer that was an error; an error inside a stream that began well has none."""
    answered = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(answered, int) and answered < 400:
        return None
    status = getattr(error, "status_code", None)
    if status is None and not hasattr(error, "body"):
        status = getattr(error, "code", None)  # Google's; beside a body it is what the body says of itself
    return status if type(status) is int and 400 <= status < 600 else None


def may_have_been_sent(error: BaseException) -> bool:
    """Return False if ``error`` was raised before the request left, so that the provider cannot have worked on it."""
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            break
        names = {kind.__name__ for kind in type(cause).__mro__}
        if not names.isdisjoint(_NEVER_SENT):
            return False
        # The first error of a transport decides: behind it may be one that the application was handling.
        if _is_of_transport(cause, names):
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    # The SDKs name the request on what they raise from their HTTP client, and on nothing that they raise before.
    own = getattr(error, "__dict__", {})
    return own.get("request") is not None or own.get("response") is not None


def _is_of_transport(error: BaseException, names: set[str]) -> bool:
    package = type(error).__module__.partition(".")[0]
    if package == "requests" or "MaxRetryError" in names:
        return False  # a wrapper: the error behind it tells whether there was a connection
    return isinstance(error, (ConnectionError, TimeoutError)) or "SSLError" in names or package in _TRANSPORTS


def error_code(error: BaseException) -> str | None:
    """The vendor's machine-readable code or type."""
    inner = _inner(getattr(error, "body", None))
    codes = (
        getattr(error, "code", None),
        inner.get("code"),
        getattr(error, "type", None),
        inner.get("type"),
        getattr(error, "status", None),
    )
    found = next((code for code in codes if isinstance(code, str) and code), None)
    # Google's exceptions hold the HTTP status as their code, others what the body says.
    number = inner.get("code") if found is None else None
    return str(number) if type(number) is int else found


def error_event(error: BaseException) -> Any:
    """The event of a stream that an SDK raised ``error`` for in place of handing it over: it may tell the usage.

    The exception keeps a part of the event only. The whole is in the frame that raised it, where the openai SDK has it.
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
