"""For functions that are frozen between invocations: what was traced leaves before the answer does."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from . import _errors

__all__ = ["flushed", "on_lambda"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_MARGIN_SECONDS = 0.5
"""Seconds left to the platform."""


def on_lambda() -> bool:
    """Whether this process is an AWS Lambda function."""
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def flushed(handler: _Handler) -> _Handler:
    """Flush after each invocation of an AWS Lambda handler.

    The flush is bounded by ``LLMTRACE_FLUSH_TIMEOUT``, and by what Lambda says is left of the invocation. Elsewhere,
    where nothing is frozen, the handler is called and that is all. What could not be sent stays in the spool, and is
    sent by a later invocation of the same instance.
    """

    @functools.wraps(handler)
    def handled(event: Any, context: Any, *more: Any, **named: Any) -> Any:
        try:
            return handler(event, context, *more, **named)
        finally:
            if on_lambda():
                _flush(context)

    return handled  # type: ignore[return-value]  # a decorator that keeps the signature


def _flush(context: Any) -> None:
    from . import _api
    from ._settings import Settings

    try:
        current = _api._current
        allowed = (Settings() if current is None else current.settings).flush_timeout
        left = getattr(context, "get_remaining_time_in_millis", None)
        if callable(left):
            allowed = min(allowed, left() / 1000 - _MARGIN_SECONDS)
        _api.flush(max(0.0, allowed))
    except Exception:
        _errors.log_internal_error("flush after an invocation")
