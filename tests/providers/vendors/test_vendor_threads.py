"""Streams of vendors' libraries in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from interruptions import cancel_reader, forks, in_child, paused
from loopback import Loopback
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vendor_calls import METHODS, STREAMS, Method, close, make_client, only

import llmtrace

ASYNC = pytest.mark.parametrize("colour", ["async"])


@forks
@pytest.mark.parametrize("name", STREAMS)
def test_fork_in_mid_stream_ends_the_span_once(name: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits an open stream ends no span; the parent's span ends when it has read the stream."""
    method = METHODS[name]
    loopback.will(method.respond(stream=True))
    client = make_client(method.client or method.vendor, "sync", loopback.url)
    assert method.stream is not None
    stream = iter(method.stream(client))
    next(stream)

    def drop() -> int:
        nonlocal stream
        del stream
        llmtrace.flush(2)
        return len(spans.get_finished_spans())

    assert in_child(drop) == "0"
    assert list(stream)
    asyncio.run(close(client))
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


@forks
@pytest.mark.parametrize("name", STREAMS)
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    name: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    method, hold, url = METHODS[name], threading.Event(), loopback.url
    loopback.will(paused(method.respond(stream=True), hold, 0), method.respond(stream=True))
    assert method.stream is not None
    ask = method.stream

    def call() -> int:
        client = make_client(method.client or method.vendor, "sync", url)
        count = len(list(ask(client)))
        asyncio.run(close(client))
        return count

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(call)
        while not loopback.received:
            threading.Event().wait(0.005)

        def in_the_child() -> int:
            call()
            llmtrace.flush(5)
            return len(spans.get_finished_spans())

        assert in_child(in_the_child) == "1"
        hold.set()
        assert reading.result(10)
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


@ASYNC
@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("sent", [0, 1])
async def test_cancelled_reader_of_a_stream_is_cancelled(
    sent: int, method: Method, client: Any, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A task that is cancelled while it waits for a chunk gets its exception, and the span ends once, as cancelled."""
    await cancel_reader(loopback, method.respond(stream=True), sent, lambda: method.ask(client, stream=True))
    attributes = await only(spans)
    assert attributes["llmtrace.outcome"] == "cancelled"
    assert "llm.cost.total" not in attributes


@pytest.mark.parametrize("colour", ["sync"])
@pytest.mark.parametrize("name", STREAMS)
async def test_streams_in_threads_have_a_span_each(
    method: Method, client: Any, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """Threads that share a client read their own streams, each with its tags."""
    loopback.will(method.respond(stream=True))
    assert method.stream is not None
    ask = method.stream

    def consume(number: int) -> int:
        with llmtrace.tag(feature=f"f{number}"):
            return len(list(ask(client)))

    with ThreadPoolExecutor(8) as pool:
        counts = list(pool.map(consume, range(24)))
    assert len(set(counts)) == 1
    assert llmtrace.flush()
    finished = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert sorted(each["llmtrace.feature"] for each in finished) == sorted(f"f{number}" for number in range(24))
    assert {each["llmtrace.stream.end"] for each in finished} == {"exhausted"}
