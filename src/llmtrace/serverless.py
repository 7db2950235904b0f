"""Support for functions that are frozen between invocations: spans are sent before the response."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from . import _errors
from ._settings.environment import variable

_Handler = TypeVar("_Handler", bound=Callable[..., Any])
_MARGIN_SECONDS = 0.5
"""Seconds of the remaining time that a flush leaves to the platform."""


def flushed(handler: _Handler) -> _Handler:
    """Flush after each invocation of an AWS Lambda handler.

    The flush is limited by ``LLMTRACE_FLUSH_TIMEOUT`` and by the remaining time of the invocation. Outside Lambda, the
    handler runs without a flush. Spans that could not be sent stay in the spool, and a later invocation of the same
    instance sends them.

    Args:
        handler: The Lambda handler, a function of ``event`` and ``context``.

    Returns:
        A handler with the same signature.
    """

    @functools.wraps(handler)
    def handle(event: Any, context: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return handler(event, context, *args, **kwargs)
        finally:
            if variable("AWS_LAMBDA_FUNCTION_NAME"):
                _flush(context)

    return handle  # type: ignore[return-value]  # same signature


def _flush(context: Any) -> None:
    from . import _api
    from ._settings import Settings

    try:
        current = _api._current
        timeout = (Settings() if current is None else current.settings).flush_timeout
        remaining_millis = getattr(context, "get_remaining_time_in_millis", None)
        if callable(remaining_millis):
            timeout = min(timeout, remaining_millis() / 1000 - _MARGIN_SECONDS)
        _api.flush(max(0.0, timeout))
    except Exception:
        _errors.log_internal_error("flush after an invocation")
