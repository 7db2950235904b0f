"""google-genai: lazy streams, and how a stream ends."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest
from genai_calls import CHUNKS, COLOURS, ONCE, USAGE, Side, ended, exported, leaky, only, tracer
from google.genai import errors
from google_server import Gemini, answer, collect, resolve, step
from opentelemetry.trace import SpanKind

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


@COLOURS
async def test_lazy_stream_starts_its_timing_with_its_request(side: Side, gemini: Gemini, spans: Any) -> None:
    """Before it is read, a lazy stream has no span and no request, and the wait is not measured."""
    gemini.will([answer("Hel", reason=None), answer("lo", usage=USAGE)])
    stream = await side.ask(stream=True)
    if "async" in type(stream).__name__ and gemini.received:
        pytest.skip("this release sends the request when it is asked for the stream")
    time.sleep(0.5)
    assert gemini.received == []
    assert spans.get_finished_spans() == ()
    begun, clock = time.time_ns(), time.perf_counter()
    await collect(stream)
    took = time.perf_counter() - clock
    span = await only(spans)
    assert span.start_time >= begun
    assert (span.end_time - span.start_time) / 1e9 <= took + 0.001
    assert 0 < span.attributes["gen_ai.response.time_to_first_chunk"] <= took
    assert 0 < span.attributes["llmtrace.stream.time_to_first_token"] <= took


@COLOURS
async def test_unread_lazy_stream_has_no_span(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream that is never read sends no request and has no span."""
    config = {"automatic_function_calling": {"disable": False, "maximum_remote_calls": 1}}
    stream = await side.ask(stream=True, **config)
    del stream
    assert await exported(spans, left=True) == []
    assert gemini.received == []


@COLOURS
async def test_stream_is_the_generator_of_the_sdk(side: Side, gemini: Gemini, spans: Any) -> None:
    """The returned stream is the generator of the SDK's own function."""
    gemini.will([answer("hi", usage=USAGE)])
    stream = await side.ask(stream=True)
    code = getattr(stream, "gi_code", None) or stream.ag_code
    assert code.co_filename.endswith("models.py")
    await collect(stream)


@COLOURS
async def test_lazy_stream_keeps_the_parent_of_its_creation(side: Side, gemini: Gemini, spans: Any) -> None:
    """The parent is the span that was current at creation, wherever the stream is read."""
    gemini.will([answer("hi", usage=USAGE)])
    own = tracer(spans)
    with own.start_as_current_span("caller") as caller:
        stream = await side.ask(stream=True)

    async def read() -> None:
        with own.start_as_current_span("read"):
            await collect(stream)

    if side.colour == "sync":
        thread = threading.Thread(target=lambda: asyncio.run(read()))
        thread.start()
        thread.join()
    else:
        await asyncio.create_task(read())
    found = {span.name: span for span in await exported(spans)}
    assert found["generate_content gemini-test"].parent.span_id == caller.get_span_context().span_id
    assert found["read"].parent is None


@COLOURS
async def test_interleaved_streams_keep_their_parents(side: Side, gemini: Gemini, spans: Any) -> None:
    """Streams that are read alternately keep their own parents."""
    gemini.will([answer("a", reason=None), answer("b", usage=USAGE)])
    own = tracer(spans)
    streams, parents = [], set()
    for name in "xyz":
        with own.start_as_current_span(name) as outer:
            streams.append(await side.ask(stream=True))
            parents.add(outer.get_span_context().span_id)
    for _ in range(2):
        for stream in streams:
            await step(stream)
    for stream in streams:
        await collect(stream)
    calls = [span for span in await exported(spans) if span.kind is SpanKind.CLIENT]
    assert {span.parent.span_id for span in calls} == parents


@COLOURS
async def test_drained_stream_is_exhausted(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream read to its end is ``exhausted``."""
    gemini.will(CHUNKS)
    assert await collect(await side.ask(stream=True), lambda chunk: chunk.text) == ["a", "b", "c"]
    span = await only(spans)
    ended(span, "exhausted")
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@leaky
@COLOURS
async def test_closed_stream_keeps_its_data(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream that the caller closes keeps its data and is not an error."""
    gemini.will(CHUNKS)
    stream = await side.ask(stream=True)
    await step(stream)
    await resolve(stream.close() if side.colour == "sync" else stream.aclose())
    span = await only(spans, left=True)
    ended(span, "closed")
    assert span.attributes["gen_ai.usage.input_tokens"] == 8
    assert span.attributes["llmtrace.usage.source"] == "partial"
    del stream


@leaky
@COLOURS
async def test_dropped_stream_is_recorded_once_collected(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream that is left midway is recorded once collected."""
    gemini.will(CHUNKS)
    stream = await side.ask(stream=True)
    await step(stream)
    assert spans.get_finished_spans() == ()
    del stream
    ended(await only(spans, left=True), "dropped")


@COLOURS
async def test_empty_stream_is_truncated(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream that ends before its first chunk was cut."""
    gemini.will([])
    assert await collect(await side.ask(stream=True)) == []
    ended(await only(spans), "truncated", "error")


@COLOURS
async def test_stream_without_finish_reason_is_truncated(side: Side, gemini: Gemini, spans: Any) -> None:
    """A stream without a finish reason was cut."""
    gemini.will(CHUNKS[:2])
    assert len(await collect(await side.ask(stream=True))) == 2
    span = await only(spans)
    ended(span, "truncated", "error")
    assert span.attributes["error.type"] == "truncated"


async def test_task_cancelled_in_a_stream_is_cancelled(gemini: Gemini, spans: Any) -> None:
    """A task cancelled while it waits for a chunk ends its call as cancelled."""
    side = Side(gemini.client(**ONCE), "async")
    if not hasattr(side.client, "aclose"):
        pytest.skip("the first releases read the stream without giving way to other tasks")
    held, waiting = threading.Event(), asyncio.Event()
    gemini.will([CHUNKS[0], held.wait])

    async def read() -> None:
        stream = await side.ask(stream=True)
        await step(stream)
        waiting.set()
        await step(stream)

    task = asyncio.create_task(read())
    await waiting.wait()
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.set()
    ended(await only(spans), "cancelled", "cancelled")
    await side.client.aclose()


@COLOURS
async def test_error_in_a_stream_keeps_earlier_tokens(side: Side, gemini: Gemini, spans: Any) -> None:
    """An error inside a stream fails the call and keeps the tokens reported so far."""
    gemini.will([CHUNKS[0], {"error": {"code": 503, "message": "secret", "status": "UNAVAILABLE"}}])
    try:
        await collect(await side.ask(stream=True))
    except errors.APIError as error:
        assert error.code == 503
    span = await only(spans)
    ended(span, "failed", "error")
    assert span.attributes["llmtrace.error.code"] == "UNAVAILABLE"
    assert span.attributes["gen_ai.usage.input_tokens"] == 8
    assert "secret" not in repr(span.to_json())
