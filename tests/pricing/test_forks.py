"""A fork while prices are loaded leaves the child able to price."""

from __future__ import annotations

import os
import select
import signal
import threading

import pytest

from llmtrace.pricing import catalog


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_prices_are_loaded_does_not_block_the_child() -> None:
    """Without a new lock the child's first call would wait forever for the prices."""
    loading, forking = threading.Event(), threading.Event()

    def load() -> None:
        with catalog._lock:
            loading.set()
            forking.wait(0.2)

    thread = threading.Thread(target=load)
    thread.start()
    assert loading.wait(10)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        catalog.current()
        os.write(writing, b"priced")
        os._exit(0)
    try:
        ready, _, _ = select.select([reading], [], [], 10)
        assert ready
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        thread.join()
    assert catalog._lock._lock.acquire(timeout=1)
    catalog._lock._lock.release()
