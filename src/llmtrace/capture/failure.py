"""What an exception says of the call it ended."""

from __future__ import annotations

from typing import Any

__all__ = ["error_code", "error_type", "http_status"]


def qualified(kind: type[BaseException]) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_type(error: BaseException) -> str:
    """The HTTP status of a refusal, else the qualified name of the class."""
    status = http_status(error)
    return qualified(type(error)) if status is None else str(status)


def http_status(error: BaseException) -> int | None:
    """The status of the answer that was an error; an error inside a stream that began well has none."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def error_code(error: BaseException) -> str | None:
    """The vendor's machine-readable code or type."""
    body: Any = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    inner = inner if isinstance(inner, dict) else {}
    for code in (getattr(error, "code", None), inner.get("code"), getattr(error, "type", None), inner.get("type")):
        if isinstance(code, str) and code:
            return code
    return None
