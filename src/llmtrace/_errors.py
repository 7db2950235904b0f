"""Handling of internal errors: suppressed, logged once per place and counted; raised in strict mode."""

from __future__ import annotations

import logging
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

_log = logging.getLogger("llmtrace")
_handle = _log.handle


def _handle_guarded(record: logging.LogRecord) -> None:
    """Pass a record to the application's handlers and filters, and suppress their errors."""
    with suppress(Exception):
        _handle(record)


# All log records of the package pass here: even the default handler may raise, if ``sys.stderr`` is broken.
_log.handle = _handle_guarded  # type: ignore[method-assign]
internal_errors: Counter[str] = Counter()
_strict = False
_Result = TypeVar("_Result")


def announce(message: str) -> None:
    """Print one line on ``sys.stderr``, which may be missing, closed or broken."""
    if sys.stderr is not None:
        with suppress(Exception):
            print(f"llmtrace: {message}", file=sys.stderr)


def set_strict(value: bool) -> None:
    """Raise internal errors instead of logging them, or stop doing so."""
    global _strict  # noqa: PLW0603 - one switch for the process
    _strict = value


def log_internal_error(action: str) -> None:
    """Count and log the current exception. Call it inside ``except Exception``.

    Args:
        action: The failed action, as a verb phrase: "price a call".
    """
    internal_errors[action] += 1
    if _strict:
        raise  # noqa: PLE0704 - the caller is inside ``except``
    if internal_errors[action] == 1:
        kind, _, frames = sys.exc_info()
        # Leave out the message: it may contain a part of a prompt or response.
        stack = "".join(traceback.format_tb(frames)) if frames is not None else ""
        name = "error" if kind is None else kind.__qualname__
        _log.warning("llmtrace could not %s (%s); the call itself is unaffected\n%s", action, name, stack.rstrip())


def attempt(action: str, step: Callable[..., _Result], *args: object) -> _Result | None:
    """Return ``step(*args)``; ``None`` after an error, which is counted and logged as ``log_internal_error`` does."""
    try:
        return step(*args)
    except Exception:
        log_internal_error(action)
        return None
