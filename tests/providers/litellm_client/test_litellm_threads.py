"""LiteLLM: streams in forked children, in threads, and in tasks that are cancelled."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import flushed_attributes
from interruptions import call_during_a_call, cancel_reader, forks, read_after_fork, read_in_threads
from litellm_calls import OLDEST, VENDORS, arguments, good, litellm
from loopback import Loopback
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # LiteLLM's own
    pytest.mark.skipif(OLDEST, reason="this release holds the last stream until the next call"),
]
NAMES = pytest.mark.parametrize("name", ["openai", "anthropic", "mistral"])


@forks
@NAMES
def test_fork_in_mid_stream_ends_the_span_once(name: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits an open stream ends no span; the parent's span ends when it has read the stream."""
    vendor = VENDORS[name]
    loopback.will(good(vendor, stream=True))
    assert read_after_fork(lambda: litellm.completion(stream=True, **arguments(vendor, loopback.url)), spans)
    assert flushed_attributes(spans)["llmtrace.stream.end"] == "exhausted"


@forks
@NAMES
def test_child_makes_calls_while_one_of_the_parent_is_under_way(
    name: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A fork while a thread waits for its response harms neither: each process ends the spans of its own calls."""
    vendor = VENDORS[name]
    options = arguments(vendor, loopback.url)

    def call() -> int:
        return len(list(litellm.completion(stream=True, **options)))

    assert call_during_a_call(loopback, good(vendor, stream=True), call, spans)
    assert flushed_attributes(spans)["llmtrace.stream.end"] == "exhausted"


@NAMES
@pytest.mark.parametrize("sent", [0, 4])
async def test_cancelled_reader_of_a_stream_is_cancelled(
    sent: int, name: str, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """A task that is cancelled while it waits for a chunk gets its exception, and the span ends once, as cancelled."""
    vendor = VENDORS[name]

    async def ask() -> Any:
        return await litellm.acompletion(stream=True, **arguments(vendor, loopback.url))

    await cancel_reader(loopback, good(vendor, stream=True), min(sent, 2 if name != "anthropic" else 4), ask)
    found = flushed_attributes(spans)
    assert found["llmtrace.outcome"] == "cancelled"
    assert "llm.cost.total" not in found


@NAMES
def test_streams_in_threads_have_a_span_each(name: str, loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Threads read their own streams, each with its tags."""
    vendor = VENDORS[name]
    loopback.will(good(vendor, stream=True))
    options = arguments(vendor, loopback.url)

    assert len(read_in_threads(lambda: len(list(litellm.completion(stream=True, **options))), spans)) == 1
