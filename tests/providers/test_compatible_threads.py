"""Groq, Together, Cerebras and Fireworks: streams in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

import pytest
from answers import CHAT_CHUNKS, QUESTION, sse
from helpers import attributes, resolve
from interruptions import call_during_a_call, cancel_reader, forks, read_after_fork, read_in_threads
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
        completions = client.chat.completions
        assert read_after_fork(lambda: completions.create(model="m", messages=QUESTION, stream=True), spans)
    assert attributes(spans)["llmtrace.stream.end"] == "exhausted"


@forks
@VENDORS
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    vendor: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    url = loopback.url

    def call() -> int:
        with make_client(vendor, "sync", url) as client:
            return len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True)))

    assert call_during_a_call(loopback, STREAM, call, spans)
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
    with make_client(vendor, "sync", loopback.url) as client:

        def call() -> int:
            return len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True)))

        assert read_in_threads(call, spans) == {len(CHAT_CHUNKS)}
