"""SIGTERM, which ends many servers without ``atexit``: flush first, then do exactly what would have happened.

The handler runs on the main thread, between any two of its instructions, perhaps while that thread holds a lock that
flushing needs. Where the interrupted code is ours, the handler therefore returns and the signal is sent again a moment
later. Otherwise another thread flushes, and the handler waits for it no longer than the time-out.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found] # its ``getsignal`` costs a tenth of that of ``signal``, and runs with every call
import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from .. import _errors

__all__ = ["chain", "disable", "enable", "look_again"]

_SIGTERM: Any = getattr(signal, "SIGTERM", None)
_DEFERRALS = 20
_DEFERRAL_SECONDS = 0.01
_TRANSPARENT = frozenset((*sys.stdlib_module_names, "opentelemetry", "wrapt"))
"""Top-level packages that our code calls into while it holds a lock."""

_flush: Callable[[bool], object] | None = None
_timeout = 0.0
_main = threading.main_thread().ident or 0


class _Handler:
    """A handler on top of the one that was there."""

    __slots__ = ("_deferred", "_flushing", "previous")

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self._deferred = 0
        self._flushing = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _flush is not None and not self._flushing:
            if self._deferred < _DEFERRALS and _is_ours(frame) and _send_again():
                self._deferred += 1
                return
            self._deferred = 0
            self._flushing = True
            try:
                _flush_elsewhere(ending=self.previous == signal.SIG_DFL and os.getpid() != 1)
            except Exception:  # such as gevent's, where its event loop itself is interrupted
                _errors.log_internal_error("flush at SIGTERM")
            finally:
                self._flushing = False
        self._go_on(number, frame)

    def _go_on(self, number: int, frame: FrameType | None) -> None:
        if callable(self.previous):
            self.previous(number, frame)
        else:  # The default action: it ends the process, and the exit status says by which signal.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def enable(flush: Callable[[bool], object], timeout: float) -> None:
    """Have ``flush`` called at SIGTERM, for no longer than ``timeout`` seconds.

    Args:
        flush: Runs on a thread of its own. Its argument is True if the process ends with certainty.
        timeout: In seconds.
    """
    global _flush, _timeout
    _flush, _timeout = flush, timeout
    look_again()


def disable() -> None:
    """Take the handler back where it is still on top; elsewhere it does nothing of its own from now on."""
    global _flush  # noqa: PLW0603
    _flush = None
    if _SIGTERM is not None and _thread.get_ident() == _main:
        current = _signal.getsignal(_SIGTERM)
        if isinstance(current, _Handler):
            signal.signal(_SIGTERM, current.previous)


def look_again() -> None:
    """Chain the handler where another one was installed since. Called with every call, so it must be cheap."""
    if _flush is not None and _thread.get_ident() == _main and type(_signal.getsignal(_SIGTERM)) is not _Handler:
        chain()


def chain() -> None:
    """Put our handler on top of the present one, unless SIGTERM is ignored or handled outside of Python."""
    if _SIGTERM is None:
        return
    previous = signal.getsignal(_SIGTERM)
    if previous is None or previous == signal.SIG_IGN:
        return
    try:
        signal.signal(_SIGTERM, _Handler(previous))
    except ValueError:  # not the main interpreter
        disable()


def _is_ours(frame: FrameType | None) -> bool:
    """Return True if the interrupted code is ours, or was called by ours within the standard library."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _TRANSPARENT:
            return package == "llmtrace"
        frame = frame.f_back
    return False


def _send_again() -> bool:
    """Have the signal arrive once more a moment later. False where no thread can be started any more."""

    def send() -> None:
        time.sleep(_DEFERRAL_SECONDS)
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(_main, _SIGTERM)
        else:
            _thread.interrupt_main(_SIGTERM)

    return _started(send)


def _flush_elsewhere(*, ending: bool) -> None:
    flush, done = _flush, _thread.allocate_lock()
    done.acquire()

    def run() -> None:
        try:
            if flush is not None:
                flush(ending)
        except Exception:
            _errors.log_internal_error("flush at SIGTERM")
        finally:
            done.release()

    if _started(run):
        done.acquire(timeout=_timeout)


def _started(work: Callable[[], None]) -> bool:
    # Not by ``threading``, whose own lock the interrupted code may hold.
    try:
        _thread.start_new_thread(work, ())
    except RuntimeError:  # the interpreter is ending
        return False
    return True


def _after_fork() -> None:
    global _main  # noqa: PLW0603
    _main = _thread.get_ident()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
