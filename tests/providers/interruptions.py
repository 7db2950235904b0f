"""Streams that pause until a test goes on, forked children, and readers that are cancelled."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from loopback import Loopback, ServerResponse


def forks(test: Any) -> Any:
    """Mark a test that forks."""
    test = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")(test)
    return pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")(test)


def paused(answer: ServerResponse, go_on: threading.Event, sent: int) -> ServerResponse:
    """Return a stream that pauses after ``sent`` parts until ``go_on`` is set."""
    parts = list(answer.parts)
    return ServerResponse([*parts[:sent], lambda: go_on.wait(10), *parts[sent:]], kind=answer.kind)


def in_child(run: Callable[[], object]) -> str:
    """Return what ``run`` returns in a forked child."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writing, str(run()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


async def cancel_reader(
    loopback: Loopback, answer: ServerResponse, sent: int, open_stream: Callable[[], Awaitable[AsyncIterator[Any]]]
) -> None:
    """Cancel a task that waits for a part of a stream, after it has read what ``sent`` parts hold.

    Args:
        loopback: The server.
        answer: The complete stream.
        sent: Number of parts that the server sends; the task must get something from them unless this is 0.
        open_stream: Function that makes the call.
    """
    go_on, progress = threading.Event(), asyncio.Event()
    loopback.will(paused(answer, go_on, sent))

    async def consume() -> None:
        async for _ in await open_stream():
            progress.set()

    task = asyncio.create_task(consume())
    while not (loopback.received or task.done()):
        await asyncio.sleep(0.005)
    if sent:
        await asyncio.wait_for(progress.wait(), 10)
    await asyncio.sleep(0.05)  # the task may still read: a test passes wherever it is cancelled
    task.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        go_on.set()
