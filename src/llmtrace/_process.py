"""Threads, fork callbacks and one-time warnings, shared by all parts of llmtrace in one process."""

from __future__ import annotations

import _thread
import logging
import os
import threading
import weakref
from collections.abc import Callable, Hashable
from contextvars import Context
from types import MethodType
from typing import Any

from ._errors import attempt, log_internal_error

_log = logging.getLogger("llmtrace")
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

    def acquire(self, timeout: float = -1) -> bool:
        """Wait up to ``timeout`` seconds, by default without limit. Return False if the lock is not free by then."""
        lock = self._lock
        if not lock.acquire(timeout=timeout):
            return False
        self._held = lock
        return True

    def release(self) -> None:
        """Release the lock."""
        self._held.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _renew(self) -> None:
        self._lock = self._make()


class ForkHeldLock(ForkSafeLock):
    """A lock that is held during each fork, so that a fork waits for what another thread does with it."""

    __slots__ = ("_forking", "_prepare", "_timeout")

    def __init__(self, timeout: float = -1, prepare: Callable[[], object] = bool) -> None:
        """Make the lock.

        Args:
            timeout: Seconds that a fork waits for it, by default without limit.
            prepare: Function called before each fork, with the lock held.
        """
        super().__init__()
        self._timeout = timeout
        self._prepare = prepare
        self._forking = False
        _held_locks.add(self)

    def hold(self) -> None:
        """Acquire the lock for a fork."""
        self._forking = self.acquire(self._timeout)
        if self._forking:
            attempt("prepare for a fork", self._prepare)  # other locks are held all the same

    def end_hold(self) -> None:
        """Release the lock in the parent after a fork."""
        if self._forking:
            self._forking = False
            self.release()


_held_locks: weakref.WeakSet[ForkHeldLock] = weakref.WeakSet()


def _hold_locks() -> None:
    for lock in list(_held_locks):
        lock.hold()


def _release_locks() -> None:
    for lock in list(_held_locks):
        lock.end_hold()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(before=_hold_locks, after_in_parent=_release_locks, after_in_child=_run_fork_callbacks)


class _Thread(threading.Thread):
    """Thread that starts in an empty context.

    Python 3.14 and OpenTelemetry's package for ``threading`` have threads keep the context that starts them. This one
    may be a call's, whose span would then live as long as the thread and be the parent of what the thread traces.
    """

    def start(self) -> None:
        Context().run(super().start)


def new_thread(name: str, run: Callable[..., object], *args: object) -> threading.Thread:
    """Return a daemon thread named ``llmtrace-<name>``, not started yet."""
    return _Thread(target=run, args=args, name=f"llmtrace-{name}", daemon=True)


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
