"""Bedrock: streams in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bedrock_calls import EVENTS, Side, converse_answer, only, stream_of
from interruptions import call_during_a_call, cancel_reader, forks, read_after_fork, read_in_threads
from loopback import Loopback
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

STREAM = converse_answer(stream=True)


def converse(side: Side) -> Any:
    """Return the events of a call of boto3, unread."""
    return stream_of(asyncio.run(side.converse(stream=True)))


@forks
def test_fork_in_mid_stream_ends_the_span_once(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits an open stream ends no span; the parent's span ends when it has read the stream."""
    loopback.will(STREAM)
    side = Side("sync", loopback.url)
    assert len(read_after_fork(lambda: converse(side), spans)) == len(EVENTS) - 1
    side.client.close()
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


@forks
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    url = loopback.url

    def call() -> int:
        side = Side("sync", url)
        count = len(list(converse(side)))
        side.client.close()
        return count

    assert call_during_a_call(loopback, STREAM, call, spans) == len(EVENTS)
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


# aiobotocore leaves the connection of a stream open whose reader is cancelled.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore:Unclosed:ResourceWarning")
@pytest.mark.parametrize("sent", [0, 2])
async def test_cancelled_reader_of_a_stream_is_cancelled(
    sent: int, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A task that is cancelled while it waits for an event gets its exception, and the span ends as cancelled."""
    async with Side("async", loopback.url) as side:

        async def ask() -> Any:
            return stream_of(await side.converse(stream=True))

        await cancel_reader(loopback, STREAM, sent, ask)
    found = await only(spans)
    assert found["llmtrace.outcome"] == "cancelled"
    assert "error.type" not in found


def test_streams_in_threads_have_a_span_each(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Threads that share a client read their own streams, each with its tags."""
    loopback.will(STREAM)
    side = Side("sync", loopback.url)

    assert read_in_threads(lambda: len(list(converse(side))), spans) == {len(EVENTS)}
    side.client.close()
