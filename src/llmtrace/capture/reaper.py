"""Ends the spans of dropped streams, away from the thread that happened to collect them.

A finaliser runs wherever the collector strikes, perhaps while the same thread holds a lock of the very exporter the
span must go to. So it only hands the stream to this thread, and waits for a moment, bounded, so that in the common case
the span has ended when the ``del`` statement has.
"""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .stream import Recorder

__all__ = ["drain", "hand_over", "start"]

_WAIT = 0.05

_queue: SimpleQueue[tuple[Recorder | None, threading.Event]] = SimpleQueue()
_thread: threading.Thread | None = None
_lock = threading.Lock()


def start() -> None:
    """Have the thread running. Called when a stream begins, never from a finaliser."""
    if _thread is None:
        _start()


def _start() -> None:
    global _thread  # noqa: PLW0603 - one thread for the process
    with _lock:
        if _thread is None:
            _thread = threading.Thread(target=_work, name="llmtrace-reaper", daemon=True)
            _thread.start()


def _work() -> None:
    while True:
        recorder, done = _queue.get()
        if recorder is not None:
            recorder.end("dropped")
        del recorder
        done.set()


def drain(timeout: float) -> bool:
    """Wait until every stream handed over so far has ended."""
    if _thread is None or not _thread.is_alive():
        return True
    done = threading.Event()
    _queue.put((None, done))
    return done.wait(timeout)


def hand_over(recorder: Recorder) -> None:
    if _thread is None or not _thread.is_alive():
        recorder.end("dropped")
        return
    done = threading.Event()
    _queue.put((recorder, done))
    done.wait(_WAIT)


def _forget() -> None:
    global _thread, _lock, _queue
    _thread, _lock, _queue = None, threading.Lock(), SimpleQueue()


os.register_at_fork(after_in_child=_forget)
