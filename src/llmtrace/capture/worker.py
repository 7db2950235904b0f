"""One thread for what must not run on the caller's.

Two things come here. The end of a dropped stream: a finaliser runs wherever the collector strikes, perhaps while the
same thread holds a lock of the very exporter the span must go to. And the end of a call that cannot be priced yet,
because the price catalogue is still being loaded.
"""

from __future__ import annotations

import _thread
import os
import queue
import threading
from collections.abc import Callable

from .._errors import log_internal_error

__all__ = ["drain", "is_gevent_patched", "is_worker", "start", "start_callbacks", "submit"]

_Work = Callable[[], object]

_native_start = _thread.start_new_thread
_queue: queue.SimpleQueue[tuple[_Work, threading.Event]] = queue.SimpleQueue()
_worker: threading.Thread | None = None
_lock = threading.Lock()
start_callbacks: dict[str, Callable[[], None]] = {}
"""Called in each process that makes a call, at its first: a child of a pool may end before any span of it has."""


def start() -> None:
    """Have the thread running. Called when a call or stream begins, never from a finaliser."""
    if _worker is None or not _worker.is_alive():
        _start()


def is_gevent_patched() -> bool:
    """Return True if gevent has replaced the threading primitives since llmtrace was imported.

    Those made before block all greenlets, so each place where a thread starts makes its own anew.
    """
    return _thread.start_new_thread is not _native_start


def _start() -> None:
    if _worker is None and is_gevent_patched():
        _forget()
    _start_once()


def _start_once() -> None:
    global _worker  # noqa: PLW0603 - one thread for the process
    with _lock:
        if _worker is None or not _worker.is_alive():
            _worker = threading.Thread(target=_run, name="llmtrace-worker", daemon=True)
            _worker.start()
            _signal()


def _signal() -> None:
    try:
        for each in start_callbacks.values():
            each()
    except Exception:
        log_internal_error("prepare for the end of the process")


def _run() -> None:
    while True:
        work, done = _queue.get()
        try:
            work()
        except Exception:
            log_internal_error("finish a call")
        finally:
            del work
            done.set()


def submit(work: _Work) -> threading.Event:
    """Have ``work`` done on the thread, after all that was submitted before.

    This never waits: finalizers call it, on any thread, the worker's own included.

    Returns:
        An event that is set when it is done.
    """
    done = threading.Event()
    if _worker is None or not _worker.is_alive():
        work()
        done.set()
        return done
    _queue.put((work, done))
    return done


def is_worker() -> bool:
    """Return True on the thread itself, which must not wait for what it is to do."""
    # ``threading.current_thread`` takes a lock where the thread was not started by ``threading``.
    return _worker is not None and _worker.ident == threading.get_ident()


def drain(timeout: float) -> bool:
    """Wait until all that was submitted so far is done."""
    if _worker is None or not _worker.is_alive() or is_worker():
        return True
    done = threading.Event()
    _queue.put((bool, done))
    return done.wait(timeout)


def _forget() -> None:
    global _worker, _lock, _queue
    _worker, _lock, _queue = None, threading.Lock(), queue.SimpleQueue()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget)
