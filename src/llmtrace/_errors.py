"""Our faults stay ours: swallowed, logged once per place and counted; fatal under test."""

from __future__ import annotations

import logging
import sys
import traceback
from collections import Counter
from contextlib import suppress

__all__ = ["announce", "internal_errors", "log_internal_error", "set_strict"]

_log = logging.getLogger("llmtrace")
_handle = _log.handle


def _handle_guarded(record: logging.LogRecord) -> None:
    """Hand a record to the application's handlers and filters, whose faults are not the caller's."""
    with suppress(Exception):
        _handle(record)


# Every line of ours passes here, from whichever module: also ``sys.stderr``, which takes them by default, may raise.
_log.handle = _handle_guarded  # type: ignore[method-assign]
internal_errors: Counter[str] = Counter()
_strict = False


def announce(message: str) -> None:
    """Print one line on ``sys.stderr``, which may be missing, closed or broken."""
    if sys.stderr is not None:
        with suppress(Exception):
            print(f"llmtrace: {message}", file=sys.stderr)


def set_strict(value: bool) -> None:
    global _strict  # noqa: PLW0603 - one switch for the process
    _strict = value


def log_internal_error(action: str) -> None:
    """Say that ``place`` failed. Call it inside ``except Exception``."""
    internal_errors[action] += 1
    if _strict:
        raise  # noqa: PLE0704 - the caller is inside ``except``
    if internal_errors[action] == 1:
        kind, _, frames = sys.exc_info()
        # The message is left out: it may hold a piece of what was said.
        where = "".join(traceback.format_tb(frames)) if frames is not None else ""
        name = "fault" if kind is None else kind.__qualname__
        _log.warning("llmtrace could not %s (%s); the call itself is unaffected\n%s", action, name, where.rstrip())
