"""What all parts share in a process: callbacks after a fork, locks, threads and warnings that are logged once."""

from __future__ import annotations

import gc
import logging
import os
import threading
from contextvars import ContextVar

import pytest

from llmtrace import _errors, _process

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


def in_child(answer: list[str]) -> str:
    """Return what ``answer`` holds in a forked child."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(writing, ",".join(answer).encode() or b"nothing")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return pipe.read()


@needs_fork
@pytest.mark.faulty
def test_fork_callbacks_run_in_order_in_the_child_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A callback that fails does not keep the next from running, and nothing runs in the parent."""
    monkeypatch.setattr(_process, "_fork_callbacks", [])
    called: list[str] = []

    def fail() -> None:
        called.append("failed")
        raise RuntimeError

    for callback in (lambda: called.append("first"), fail, lambda: called.append("last")):
        _process.after_fork(callback)
    assert in_child(called) == "first,failed,last"
    assert called == []
    assert not _errors.internal_errors


@needs_fork
def test_object_of_a_registered_method_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound method is called while its object lives, and its entry is removed afterwards."""
    monkeypatch.setattr(_process, "_fork_callbacks", [])
    called: list[str] = []

    class Owner:
        def renew(self) -> None:
            called.append("renewed")

    owner = Owner()
    _process.after_fork(owner.renew)
    assert in_child(called) == "renewed"
    del owner
    gc.collect()
    assert in_child(called) == "nothing"
    _process.after_fork(Owner().renew)
    assert len(_process._fork_callbacks) == 1


@needs_fork
@pytest.mark.parametrize("make", [threading.Lock, threading.RLock])
def test_lock_held_by_another_thread_is_free_in_the_child(make: object) -> None:
    """The child of a fork takes the lock that a thread of the parent holds, and the parent still excludes."""
    lock = _process.ForkSafeLock(make)  # type: ignore[arg-type]
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            release.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    if (child := os.fork()) == 0:
        with lock:
            os._exit(7)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert not lock._lock.acquire(blocking=False)
    release.set()
    thread.join()
    with lock:
        pass


@pytest.mark.faulty
def test_fork_holds_every_lock_although_a_preparation_fails() -> None:
    """Each lock is held in the fork, and free in the parent after it."""

    def fail() -> None:
        raise RuntimeError

    locks = [_process.ForkHeldLock(prepare=fail) for _ in range(5)]
    _process._hold_locks()
    try:
        held = [not lock.acquire(0) for lock in locks]
    finally:
        _process._release_locks()
    assert held == [True] * 5
    for lock in locks:
        assert lock.acquire(0)
        lock.release()


def test_warning_is_logged_once_per_subject(caplog: pytest.LogCaptureFixture) -> None:
    """The text is the subject where none is named; after the limit, warnings are dropped."""
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for message in ("100 % of a", "100 % of a", "of b"):
            _process.warn_once(message)
        _process.warn_once("the first of c", about="c")
        _process.warn_once("the second of c", about="c")
        _process.warn_once("too many", limit=3)
    logged = [record.getMessage() for record in caplog.records]
    assert logged == ["100 % of a", "of b", "the first of c"]
    assert _process.logged_warnings() == tuple(sorted(logged))
    _process.forget_warnings()
    assert _process.logged_warnings() == ()


def test_thread_is_a_daemon_with_our_name() -> None:
    """Threads are recognizable in a debugger, and do not keep the program from ending."""
    done: list[object] = []
    thread = _process.new_thread("test", done.append, 1)
    assert (thread.name, thread.daemon) == ("llmtrace-test", True)
    thread.start()
    thread.join(10)
    assert done == [1]


def test_thread_keeps_nothing_of_the_context_that_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that hand the context on to threads would make a call's span the parent of all that the thread does."""
    current: ContextVar[str] = ContextVar("current", default="none")
    seen: list[str] = []
    start = threading.Thread.start
    monkeypatch.setattr(threading.Thread, "start", lambda thread: (seen.append(current.get()), start(thread))[1])
    token = current.set("call")
    thread = _process.new_thread("test", lambda: seen.append(current.get()))
    thread.start()
    thread.join()
    current.reset(token)
    assert seen == ["none", "none"]
