"""Groq, Together, Cerebras and Fireworks: streams in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from answers import CHAT_CHUNKS, QUESTION, sse
from helpers import attributes, resolve
from interruptions import cancel_reader, forks, in_child, paused
from loopback import Loopback, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from stainless_clients import COMPATIBLE, make_client

VENDORS = pytest.mark.parametrize("vendor", COMPATIBLE)
STREAM = stream_answer(sse(CHAT_CHUNKS, done=True))


@forks
@VENDORS
def test_fork_in_mid_stream_ends_the_span_once(vendor: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits an open stream ends no span; the parent's span ends when it has read the stream."""
    loopback.will(STREAM)
    with make_client(vendor, "sync", loopback.url) as client:
        stream = iter(client.chat.completions.create(model="m", messages=QUESTION, stream=True))
        next(stream)

        def drop() -> int:
            nonlocal stream
            del stream
            llmtrace.flush(2)
            return len(spans.get_finished_spans())

        assert in_child(drop) == "0"
        assert list(stream)
    assert attributes(spans)["llmtrace.stream.end"] == "exhausted"


@forks
@VENDORS
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    vendor: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    go_on, url = threading.Event(), loopback.url
    loopback.will(paused(STREAM, go_on, 0), STREAM)

    def call() -> int:
        with make_client(vendor, "sync", url) as client:
            return len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True)))

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
        assert reading.result(10)
    assert attributes(spans)["llmtrace.stream.end"] == "exhausted"


@VENDORS
@pytest.mark.parametrize("sent", [0, 2])
async def test_cancelled_reader_of_a_stream_is_cancelled(
    sent: int, vendor: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A task that is cancelled while it waits for a chunk gets its exception, and the span ends once, as cancelled."""
    client = make_client(vendor, "async", loopback.url)

    def ask() -> object:
        return client.chat.completions.create(model="m", messages=QUESTION, stream=True)

    await cancel_reader(loopback, STREAM, sent, ask)  # type: ignore[arg-type]
    await resolve(client.close())
    assert llmtrace.flush()
    assert attributes(spans)["llmtrace.outcome"] == "cancelled"


@VENDORS
def test_streams_in_threads_have_a_span_each(vendor: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Threads that share a client read their own streams, each with its tags."""
    loopback.will(STREAM)
    with make_client(vendor, "sync", loopback.url) as client, ThreadPoolExecutor(8) as pool:

        def consume(number: int) -> int:
            with llmtrace.tag(feature=f"f{number}"):
                return len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True)))

        counts = list(pool.map(consume, range(24)))
    assert set(counts) == {len(CHAT_CHUNKS)}
    finished = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert sorted(each["llmtrace.feature"] for each in finished) == sorted(f"f{number}" for number in range(24))
    assert {each["llmtrace.stream.end"] for each in finished} == {"exhausted"}
