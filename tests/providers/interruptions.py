"""Streams that pause until a test goes on, forked children, and readers that are cancelled."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from loopback import Loopback, ServerResponse
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace


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


def read_after_fork(open_stream: Callable[[], Any], spans: InMemorySpanExporter) -> list[Any]:
    """Open a stream, drop it in a child, where no span may end, and return the rest of it, read here."""
    stream: Iterator[Any] = iter(open_stream())
    next(stream)

    def drop() -> int:
        nonlocal stream
        del stream
        llmtrace.flush(2)
        return len(spans.get_finished_spans())

    assert in_child(drop) == "0"
    return list(stream)


def call_during_a_call(
    loopback: Loopback, answer: ServerResponse, call: Callable[[], int], spans: InMemorySpanExporter
) -> int:
    """Make a call in a child while one of the parent waits for its response, and return the result of the latter.

    The child ends one span, that of its own call.
    """
    go_on = threading.Event()
    loopback.will(paused(answer, go_on, 0), answer)

    def call_in_child() -> int:
        call()
        llmtrace.flush(5)
        return len(spans.get_finished_spans())

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(call)
        while not loopback.received:
            threading.Event().wait(0.005)
        assert in_child(call_in_child) == "1"
        go_on.set()
        return reading.result(10)


def read_in_threads(call: Callable[[], int], spans: InMemorySpanExporter) -> set[int]:
    """Make calls in threads, each with its tag and its span, and return their results without repetitions."""

    def consume(number: int) -> int:
        with llmtrace.tag(feature=f"f{number}"):
            return call()

    with ThreadPoolExecutor(8) as pool:
        counts = set(pool.map(consume, range(24)))
    assert llmtrace.flush()
    finished = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert sorted(each["llmtrace.feature"] for each in finished) == sorted(f"f{number}" for number in range(24))
    assert {each["llmtrace.stream.end"] for each in finished} == {"exhausted"}
    return counts


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
