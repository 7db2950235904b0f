"""Threads, fork callbacks and one-time warnings, shared by all parts of llmtrace in one process."""

from __future__ import annotations

import _thread
import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from types import MethodType
from typing import Any

from ._errors import log_internal_error

_log = logging.getLogger("llmtrace")
_FORKS = hasattr(os, "register_at_fork")  # not on Windows
_native_start = _thread.start_new_thread
_Reference = Callable[[], Callable[[], object] | None]
_fork_callbacks: list[_Reference] = []
_MAX_WARNINGS = 10_000
_warnings: dict[Hashable, list[str]] = {}


def after_fork(callback: Callable[[], object]) -> None:
    """Call ``callback`` in each forked child, after those that were registered earlier.

    The callback renews what another thread of the parent may have held, such as a lock. The object of a bound method
    is held weakly: it is forgotten when nothing else holds it.
    """
    if isinstance(callback, MethodType):
        _fork_callbacks[:] = [reference for reference in _fork_callbacks if reference() is not None]
        _fork_callbacks.append(weakref.WeakMethod(callback))
    else:
        _fork_callbacks.append(lambda: callback)


def _run_fork_callbacks() -> None:
    for reference in list(_fork_callbacks):
        try:
            callback = reference()
            if callback is not None:
                callback()
        except Exception:
            log_internal_error("renew its state after a fork")


if _FORKS:
    os.register_at_fork(after_in_child=_run_fork_callbacks)


def before_fork(before: Callable[[], object], after_in_parent: Callable[[], object]) -> None:
    """Call ``before`` before each fork of this process, and ``after_in_parent`` in the parent after it."""
    if _FORKS:
        os.register_at_fork(before=before, after_in_parent=after_in_parent)


class ForkSafeLock:
    """A lock that is free in a forked child, whichever thread of the parent held it."""

    __slots__ = ("__weakref__", "_held", "_lock", "_make")

    def __init__(self, make: Callable[[], Any] = threading.Lock) -> None:
        """Make the lock.

        Args:
            make: ``threading.Lock`` or ``threading.RLock``.
        """
        self._make = make
        self._lock = self._held = make()
        after_fork(self._renew)

    def __enter__(self) -> None:
        lock = self._lock
        lock.acquire()
        self._held = lock

    def __exit__(self, *_: object) -> None:
        self._held.release()

    def _renew(self) -> None:
        self._lock = self._make()


def new_thread(name: str, run: Callable[..., object], *args: object) -> threading.Thread:
    """Return a daemon thread named ``llmtrace-<name>``, not started yet."""
    return threading.Thread(target=run, args=args, name=f"llmtrace-{name}", daemon=True)


def is_gevent_patched() -> bool:
    """Return True if gevent has replaced the threading primitives since llmtrace was imported.

    Primitives created before the patch block all greenlets, so every thread owner creates new ones.
    """
    return _thread.start_new_thread is not _native_start


def warn_once(message: str, *, about: Hashable = None, limit: int = _MAX_WARNINGS) -> None:
    """Log a warning, unless there was one about the same subject before.

    Args:
        message: The text of the warning.
        about: The subject, by default the text itself.
        limit: Number of warnings of this process beyond which this one is dropped.
    """
    subject = message if about is None else about
    if subject in _warnings or len(_warnings) >= limit:
        return
    entry = [message]
    if _warnings.setdefault(subject, entry) is entry:  # not another thread's
        _log.warning("%s", message)


def logged_warnings() -> tuple[str, ...]:
    """Return the warnings that ``warn_once`` has logged since ``forget_warnings``, in alphabetical order."""
    return tuple(sorted(message for (message,) in _warnings.values()))


def forget_warnings() -> None:
    """Log every warning once more."""
    _warnings.clear()
