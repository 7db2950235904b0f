"""Background thread for work that must not run on the caller's thread.

It ends dropped streams: a finalizer may run on a thread that holds a lock of the exporter the span goes to. It also
ends calls that cannot be priced yet because the price catalog is still loading, and calls whose usage is estimated.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from .._errors import attempt, log_internal_error
from .._process import after_fork, is_gevent_patched, new_thread

_Task = Callable[[], object]

_queue: queue.SimpleQueue[tuple[_Task, _Task, threading.Event]] = queue.SimpleQueue()
"""Each entry: the task, its variant for ``run_waiting``, and the event to set when either is done."""
_worker: threading.Thread | None = None
"""The thread, from the moment that it is being started until it ends."""
_lock = threading.RLock()
start_callbacks: dict[str, Callable[[], None]] = {}
"""Callbacks run in each process when its worker starts: a pool child may exit before any of its spans ends."""


def start() -> None:
    """Start the thread if it is not running. Called when a call or stream begins, never from a finalizer."""
    if _worker is None:
        _start()


def _start() -> None:
    global _worker  # noqa: PLW0603 - one thread for the process
    if is_gevent_patched():
        _reset()
    thread = new_thread("worker", _run)
    with _lock:
        if _worker is not None:
            return
        _worker = thread
    try:
        # Hold no lock: this waits for the new thread, on which a finalizer may run.
        thread.start()
    except RuntimeError:  # the interpreter is ending
        _worker = None
    else:
        for callback in start_callbacks.values():
            attempt("install the exit hooks", callback)


def _run() -> None:
    global _worker  # noqa: PLW0603
    try:
        while True:
            task, _, done = _queue.get()
            _run_task(task, done)
            del task
    finally:
        _worker = None


def _run_task(task: _Task, done: threading.Event) -> None:
    try:
        task()
    except Exception:
        log_internal_error("finish a call")
    finally:
        del task
        done.set()


def submit(task: _Task, *, at_exit: _Task | None = None) -> threading.Event:
    """Queue ``task`` for the thread, after all tasks submitted earlier. Run it here if there is no thread.

    Never blocks on the queue: finalizers call this function on any thread, including the worker itself. ``run_waiting``
    runs ``at_exit`` instead, which must not take long. The returned event is set when the task is done.
    """
    done = threading.Event()
    if _worker is None:
        task()
        done.set()
        return done
    _queue.put((task, at_exit or task, done))
    return done


def run_waiting(deadline: float) -> int:
    """Run the tasks that still wait on this thread, without waiting for the one that the worker is busy with.

    No task is started after the monotonic time ``deadline``. Return the number of tasks that still wait.
    """
    with suppress(queue.Empty):
        while time.monotonic() < deadline:
            _, task, done = _queue.get_nowait()
            _run_task(task, done)
            del task
    return _queue.qsize()


def is_worker() -> bool:
    """Return True on the worker thread, which must not wait for its own tasks."""
    # ``threading.current_thread`` takes a lock on threads that ``threading`` did not start.
    return _worker is not None and _worker.ident == threading.get_ident()


def drain(timeout: float) -> bool:
    """Wait up to ``timeout`` seconds for the tasks submitted so far. Return True if they are done."""
    if _worker is None or is_worker():
        return True
    done = threading.Event()
    _queue.put((bool, bool, done))
    return done.wait(timeout)


def _reset() -> None:
    global _worker, _lock, _queue
    _worker, _lock, _queue = None, threading.RLock(), queue.SimpleQueue()


after_fork(_reset)
