"""Streams of vendors' libraries in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from interruptions import call_during_a_call, cancel_reader, forks, read_after_fork, read_in_threads
from loopback import Loopback
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vendor_calls import METHODS, STREAMS, Method, close, make_client, only

ASYNC = pytest.mark.parametrize("colour", ["async"])


@forks
@pytest.mark.parametrize("name", STREAMS)
def test_fork_in_mid_stream_ends_the_span_once(name: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits an open stream ends no span; the parent's span ends when it has read the stream."""
    method = METHODS[name]
    loopback.will(method.respond(stream=True))
    client = make_client(method.client or method.vendor, "sync", loopback.url)
    assert method.stream is not None
    assert read_after_fork(partial(method.stream, client), spans)
    asyncio.run(close(client))
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


@forks
@pytest.mark.parametrize("name", STREAMS)
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    name: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    method, url = METHODS[name], loopback.url
    assert method.stream is not None
    ask = method.stream

    def call() -> int:
        client = make_client(method.client or method.vendor, "sync", url)
        count = len(list(ask(client)))
        asyncio.run(close(client))
        return count

    assert call_during_a_call(loopback, method.respond(stream=True), call, spans)
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

    assert len(read_in_threads(lambda: len(list(ask(client))), spans)) == 1
