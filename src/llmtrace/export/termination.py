"""SIGTERM handler, because SIGTERM ends many servers without ``atexit``: flush, then run the previous action.

The handler runs on the main thread, between any two instructions, so that thread may hold a lock that flushing needs.
If the interrupted code is ours, the handler therefore returns, and the signal is sent again a moment later. Otherwise
another thread flushes, and the handler waits for it until the timeout.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from .. import _errors, _process
from .._compat.standard_library import find_getsignal

_SIGTERM: Any = getattr(signal, "SIGTERM", None)
_getsignal = find_getsignal()
_MAX_DEFERRALS = 20
_DEFERRAL_SECONDS = 0.01
_TRANSPARENT_PACKAGES = frozenset((*sys.stdlib_module_names, "opentelemetry", "wrapt"))
"""Top-level packages that our code calls into while it holds a lock."""

_flush: Callable[[bool], object] | None = None
_timeout_seconds = 0.0
_main_thread_id = threading.main_thread().ident or 0


class _SigtermHandler:
    """A handler that calls the previous one after flushing."""

    __slots__ = ("_deferred", "_flushing", "previous")

    def __init__(self, previous: Any) -> None:
        self.previous = previous
        self._deferred = 0
        self._flushing = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _flush is not None and not self._flushing:
            if self._deferred < _MAX_DEFERRALS and _is_ours(frame) and _resend_later():
                self._deferred += 1
                return
            self._deferred = 0
            self._flushing = True
            try:
                _flush_on_thread(ending=self.previous == signal.SIG_DFL and os.getpid() != 1)
            except Exception:  # such as gevent's, if its event loop is interrupted
                _errors.log_internal_error("flush at SIGTERM")
            finally:
                self._flushing = False
        self._call_previous(number, frame)

    def _call_previous(self, number: int, frame: FrameType | None) -> None:
        if callable(self.previous):
            self.previous(number, frame)
        else:  # Raise the signal with the default action, which sets the right exit status.
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)


def enable(flush: Callable[[bool], object], timeout: float) -> None:
    """Call ``flush`` on a thread of its own at SIGTERM, and wait for it for ``timeout`` seconds at most.

    Its argument is True if the process is certain to end.
    """
    global _flush, _timeout_seconds
    _flush, _timeout_seconds = flush, timeout
    look_again()


def disable() -> None:
    """Remove our handler if it is the current one; a handler below another one only calls the previous one."""
    global _flush  # noqa: PLW0603
    _flush = None
    if _SIGTERM is not None and _thread.get_ident() == _main_thread_id:
        current = _getsignal(_SIGTERM)
        if isinstance(current, _SigtermHandler):
            signal.signal(_SIGTERM, current.previous)


def look_again() -> None:
    """Chain our handler again if another one was installed since. It runs with every call, so it must be cheap."""
    if (
        _flush is not None
        and _thread.get_ident() == _main_thread_id
        and type(_getsignal(_SIGTERM)) is not _SigtermHandler
    ):
        chain()


def chain() -> None:
    """Install our handler before the current one, unless SIGTERM is ignored or handled outside of Python."""
    if _SIGTERM is None:
        return
    previous = signal.getsignal(_SIGTERM)
    if previous is None or previous == signal.SIG_IGN:
        return
    try:
        signal.signal(_SIGTERM, _SigtermHandler(previous))
    except ValueError:  # not the main interpreter
        disable()


def _is_ours(frame: FrameType | None) -> bool:
    """Return True if the interrupted code is ours, or was called by ours through a transparent package."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package not in _TRANSPARENT_PACKAGES:
            return package == "llmtrace"
        frame = frame.f_back
    return False


def _resend_later() -> bool:
    """Send the signal again a moment later. Return False if no thread can be started."""

    def send() -> None:
        time.sleep(_DEFERRAL_SECONDS)
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(_main_thread_id, _SIGTERM)
        else:
            _thread.interrupt_main(_SIGTERM)

    return _start_thread(send)


def _flush_on_thread(*, ending: bool) -> None:
    flush, finished = _flush, _thread.allocate_lock()
    finished.acquire()

    def run() -> None:
        try:
            if flush is not None:
                flush(ending)
        except Exception:
            _errors.log_internal_error("flush at SIGTERM")
        finally:
            finished.release()

    if _start_thread(run):
        finished.acquire(timeout=_timeout_seconds)


def _start_thread(action: Callable[[], None]) -> bool:
    # Avoid ``threading``: the interrupted code may hold its lock.
    try:
        _thread.start_new_thread(action, ())
    except RuntimeError:  # the interpreter is ending
        return False
    return True


def _after_fork() -> None:
    global _main_thread_id  # noqa: PLW0603
    _main_thread_id = _thread.get_ident()


_process.after_fork(_after_fork)
