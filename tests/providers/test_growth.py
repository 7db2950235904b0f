"""Memory after many streams, a third of them dropped."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest
from answers import CHAT_CHUNKS, MESSAGE_EVENTS, QUESTION, sse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind

import llmtrace
from llmtrace.capture import stream as streams

pytestmark = pytest.mark.exhaustive

#: What the SDKs send their requests with: the newest releases have an ``httpx`` of their own.
http = __import__(openai._base_client.SyncHttpxClientWrapper.__mro__[2].__module__.partition(".")[0])

MANY = 5_000
BATCH = 250
HELD = 4 * 1024
"""Bytes that llmtrace may hold for one open stream, its OpenTelemetry span apart."""
HAND_WRITTEN = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "server.address",
    "server.port",
)


class Counting(SpanExporter):
    """Exporter that counts the ends of streams and keeps nothing."""

    def __init__(self) -> None:
        self.ends: dict[str, int] = {}

    def export(self, spans: Any) -> SpanExportResult:
        for span in spans:
            end = span.attributes["llmtrace.stream.end"]
            self.ends[end] = self.ends.get(end, 0) + 1
        return SpanExportResult.SUCCESS


@pytest.fixture
def counted() -> Iterator[Counting]:
    exporter = Counting()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    yield exporter
    llmtrace.uninstrument()
    provider.shutdown()


class Parts(http.SyncByteStream, http.AsyncByteStream):  # type: ignore[misc]
    """Response body in pieces, without a socket, so that thousands of them do not test the operating system."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._parts)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def make_client(vendor: str, colour: str) -> Any:
    module, parts = {
        "openai": (openai, sse(CHAT_CHUNKS, done=True)),
        "anthropic": (anthropic, sse(MESSAGE_EVENTS)),
    }[vendor]
    headers = {"content-type": "text/event-stream"}
    transport = http.MockTransport(lambda _: http.Response(200, headers=headers, stream=Parts(parts)))
    kind = getattr(module, ("" if colour == "sync" else "Async") + ("OpenAI" if vendor == "openai" else "Anthropic"))
    inner = http.Client(transport=transport) if colour == "sync" else http.AsyncClient(transport=transport)
    return kind(base_url="http://127.0.0.1:9", api_key="k", max_retries=0, http_client=inner)


def create(client: Any) -> Any:
    if hasattr(client, "chat"):
        return client.chat.completions.create(model="m", messages=QUESTION, stream=True)
    return client.messages.create(model="m", max_tokens=9, messages=QUESTION, stream=True)


def some(client: Any, count: int) -> None:
    for number in range(count):
        stream = create(client)
        for _ in stream:
            if number % 3 == 0:
                break


async def some_async(client: Any, count: int) -> None:
    for number in range(count):
        stream = await create(client)
        async for _ in stream:
            if number % 3 == 0:
                break
    # Dropped generators are closed by the loop, on its next turns, and one holds the next.
    del stream
    for _ in range(20):
        gc.collect()
        await asyncio.sleep(0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_many_streams_leave_no_objects(counted: Counting, vendor: str, colour: str) -> None:
    """After a first batch the number of objects stays constant, and every stream has ended once."""
    client = make_client(vendor, colour)
    already = len(streams._open_observers)
    total = MANY // 4
    with asyncio.Runner() as runner:

        def batch(count: int) -> Counter[str]:
            if colour == "sync":
                some(client, count)
            else:
                runner.run(some_async(client, count))
            gc.collect()
            assert llmtrace.flush(5)
            gc.collect()
            return Counter(type(each).__qualname__ for each in gc.get_objects())

        batch(BATCH)
        before, frozen = batch(BATCH), gc.get_freeze_count()
        after = batch(total - 2 * BATCH)
        if colour == "async":
            runner.run(client.close())
        else:
            client.close()
    replaced = frozen - gc.get_freeze_count()  # a new object in place of a frozen one is not growth
    assert (after - before).total() - replaced < BATCH // 10, (after - before).most_common(9)
    assert len(streams._open_observers) <= already
    assert sum(counted.ends.values()) == total
    assert set(counted.ends) == {"exhausted", "dropped"}
    assert abs(counted.ends["dropped"] - total / 3) < 3


def bytes_per_stream(client: Any, tracer: Any = None, count: int = 200) -> float:
    """Return the bytes per half-read open stream, with a hand-written span for each if ``tracer`` is set."""
    kept: list[Any] = []
    create(client).close()
    gc.collect()
    tracemalloc.start()
    for _ in range(count):
        if tracer is not None:
            kept.append(tracer.start_span("chat m", kind=SpanKind.CLIENT, attributes=dict.fromkeys(HAND_WRITTEN, "m")))
        stream = create(client)
        next(iter(stream))
        kept.append(stream)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for one in kept:
        if hasattr(one, "close"):
            one.close()
    return size / count


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_open_stream_memory_is_bounded(counted: Counting, vendor: str) -> None:
    """An open stream needs at most a fixed number of bytes more than one with a hand-written span."""
    with make_client(vendor, "sync") as client:
        traced = bytes_per_stream(client)
        llmtrace.uninstrument()
        by_hand = bytes_per_stream(client, TracerProvider().get_tracer("test"))
    assert traced - by_hand < HELD, f"{traced - by_hand:.0f} bytes"
