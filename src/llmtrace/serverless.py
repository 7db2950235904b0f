"""Flushing for serverless functions, which are frozen between invocations."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any, TypeVar

from . import _errors

__all__ = ["flushed", "on_lambda"]

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_MARGIN_SECONDS = 0.5
"""Seconds of an invocation that are left to the platform."""


def on_lambda() -> bool:
    """Return True if this process is an AWS Lambda function."""
    return bool(os.environ.get("AWS_LAMBDA_FUNCTION_NAME"))


def flushed(handler: _Handler) -> _Handler:
    """Flush after each invocation of an AWS Lambda handler.

    The flush takes at most ``LLMTRACE_FLUSH_TIMEOUT`` seconds, and ends half a second before the invocation's time
    limit. Spans that could not be sent stay in the spool, and a later invocation of the same instance sends them.
    Outside of AWS Lambda the handler is only called.

    Args:
        handler: A handler that takes an event and a Lambda context.

    Returns:
        A handler with the same arguments and result.
    """

    @functools.wraps(handler)
    def wrapper(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return handler(event, context, *args, **kwargs)
        finally:
            if on_lambda():
                _flush(context)

    return wrapper  # type: ignore[return-value]  # a decorator that keeps the signature


def _flush(context: Any) -> None:
    from . import _api
    from ._settings import Settings

    try:
        instrumentation = _api._current
        timeout = (Settings() if instrumentation is None else instrumentation.settings).flush_timeout
        remaining_millis = getattr(context, "get_remaining_time_in_millis", None)
        if callable(remaining_millis):
            timeout = min(timeout, remaining_millis() / 1000 - _MARGIN_SECONDS)
        _api.flush(max(0.0, timeout))
    except Exception:
        _errors.log_internal_error("flush after an invocation")
