"""Both vendors, sync and async: streams, and how they end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading

import pytest
from conformance_calls import (
    ASYNC,
    DONE,
    OPENAI,
    ended,
    entered,
    exported,
    exporting,
    only,
    resolve,
    sdks,
    step,
    take,
    used,
)
from opentelemetry.trace import StatusCode

import llmtrace


async def test_drained_stream_is_exhausted(sdk, spans):
    """A stream read to its end is ``exhausted``, with usage, first chunk and token times and a chunk count."""
    items = await take(await sdk.create())
    span = await only(spans)
    ended(span, "exhausted", len(items))
    used(span, sdk.vendor.streamed)
    first_chunk = span.attributes["gen_ai.response.time_to_first_chunk"]
    assert first_chunk <= span.attributes["llmtrace.stream.time_to_first_token"]


async def test_stream_drained_by_next_is_exhausted(sdk, spans):
    """A stream read by ``next()`` to its end is ``exhausted`` too."""
    stream = await sdk.create()
    count = 0
    while await step(stream) is not DONE:
        count += 1
    span = await only(spans)
    ended(span, "exhausted", count)
    used(span, sdk.vendor.streamed)


async def test_stream_left_by_break_is_dropped_once_collected(sdk, spans):
    """A stream left by ``break`` stays open while referenced and is ``dropped`` once collected."""
    stream = await sdk.create()
    await take(stream, 2)
    assert await exported(spans) == []
    del stream
    ended(await only(spans), "dropped", 2)


async def test_unread_stream_is_dropped_once_collected(sdk, spans):
    """A stream that is never read is ``dropped`` without chunks once collected."""
    stream = await sdk.create()
    assert await exported(spans) == []
    del stream
    ended(await only(spans), "dropped", 0)


async def test_with_block_left_by_break_closes_the_stream(sdk, spans):
    """A ``with`` block left by ``break`` ends the stream as ``closed``, immediately."""
    async with entered(await sdk.create()) as stream:
        await take(stream, 2)
    assert len(spans.get_finished_spans()) == 1
    ended(await only(spans), "closed", 2)


async def test_second_close_adds_no_span(sdk, spans):
    """``close()`` ends the span as ``closed``, and a second one adds nothing."""
    stream = await sdk.create()
    await take(stream, 1)
    await resolve(stream.close())
    await resolve(stream.close())
    del stream
    ended(await only(spans), "closed", 1)


async def test_drained_stream_closed_later_stays_exhausted(sdk, spans):
    """A stream read to its end stays ``exhausted`` when it is closed afterwards."""
    stream = await sdk.create()
    await take(stream)
    await resolve(stream.close())
    ended(await only(spans), "exhausted")


async def test_exception_in_with_block_closes_the_stream(sdk, spans):
    """An exception of the caller's block passes unchanged and ends the stream as ``closed``."""
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with entered(await sdk.create()) as stream:
            await take(stream, 1)
            raise mine
    assert caught.value is mine
    ended(await only(spans), "closed", 1)


async def test_lost_connection_fails_the_stream(sdk, spans):
    """A connection lost in mid-stream reaches the caller as the SDK raises it and is ``failed``."""
    kinds = []
    for instrumented in (True, False):
        if not instrumented:
            llmtrace.uninstrument()
        stream = await sdk.create(headers={"x-fault": "reset-mid-stream=3"})
        with pytest.raises(Exception) as caught:
            await take(stream)
        kinds.append(type(caught.value))
        del stream, caught
    assert kinds[0] is kinds[1]
    span = await only(spans)
    ended(span, "failed", outcome="error")
    assert span.attributes["error.type"]


async def test_stream_without_end_event_is_truncated(sdk, spans):
    """A stream whose body ends without the end event of its format is ``truncated``."""
    with contextlib.suppress(sdk.vendor.module.APIError):
        await take(await sdk.create(headers={"x-fault": "truncate-after=3"}))
    span = await only(spans)
    assert span.attributes["llmtrace.stream.end"] == "truncated"
    assert span.attributes["llmtrace.stream.completed"] is False
    assert span.attributes["llmtrace.stream.chunks"] == 3


@sdks(ASYNC)
async def test_task_cancelled_in_a_stream_keeps_its_data(sdk, spans):
    """A task cancelled while it waits for a chunk ends the stream as ``cancelled`` and keeps its data."""
    stream = await sdk.create(headers={"x-delay-chunk": "0.6"})
    task = asyncio.ensure_future(take(stream))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del stream, task
    span = await only(spans)
    ended(span, "cancelled", 1, outcome="cancelled")
    assert span.status.status_code is StatusCode.UNSET


async def test_stream_read_in_another_thread_is_one_span(sdk, spans):
    """A stream read in another thread, or in a task with an empty context, is the same one span."""
    with exporting(spans).get_tracer("test").start_as_current_span("outer") as outer:
        stream = await sdk.create()
    spans.clear()
    if sdk.colour == "sync":
        thread = threading.Thread(target=lambda: list(stream))
        thread.start()
        await asyncio.to_thread(thread.join)
    else:
        await contextvars.Context().run(asyncio.ensure_future, take(stream))
    span = await only(spans)
    ended(span, "exhausted")
    used(span, sdk.vendor.streamed)
    assert span.parent.span_id == outer.get_span_context().span_id


async def test_span_between_call_and_reading_keeps_its_parent(sdk, spans):
    """A span opened between the call and its reading keeps its own parent and adopts nothing."""
    tracer = exporting(spans).get_tracer("test")
    with tracer.start_as_current_span("outer") as outer:
        stream = await sdk.create()
        with tracer.start_as_current_span("between"):
            await take(stream, 2)
            with tracer.start_as_current_span("inner"):
                await take(stream)
    found = {span.name: span for span in await exported(spans)}
    between, inner = found.pop("between"), found.pop("inner")
    del found["outer"]
    (call,) = found.values()
    ended(call, "exhausted")
    assert call.parent.span_id == between.parent.span_id == outer.get_span_context().span_id
    assert inner.parent.span_id == between.context.span_id


async def test_stream_has_the_class_of_the_sdk(sdk, spans):
    """The returned stream has the class and attributes of the SDK's stream."""
    stream = await sdk.create()
    assert type(stream) is sdk.stream_class
    assert stream.response.status_code == 200
    await take(stream)
    ended(await only(spans), "exhausted")


@pytest.mark.parametrize("reading", ["for", "next", "final", "text_stream"])
async def test_drained_stream_helper_is_exhausted(sdk, spans, reading):
    """A ``.stream()`` helper read to its end in any of its ways is one ``exhausted`` span with usage."""
    if reading == "text_stream" and sdk.vendor is OPENAI:
        pytest.skip("openai has no text_stream")
    async with entered(sdk.helper()) as stream:
        if reading == "for":
            await take(stream)
        elif reading == "next":
            while await step(stream) is not DONE:
                pass
        elif reading == "final":
            assert await resolve(getattr(stream, sdk.vendor.final)())
        else:
            assert "".join(await take(stream.text_stream)) == sdk.vendor.text
    span = await only(spans)
    ended(span, "exhausted")
    used(span, sdk.vendor.streamed)


async def test_stream_helper_left_by_break_is_closed(sdk, spans):
    """A ``.stream()`` block left by ``break`` is one ``closed`` span."""
    async with entered(sdk.helper()) as stream:
        await take(stream, 1)
    del stream
    ended(await only(spans), "closed", 1)


async def test_exception_in_stream_helper_closes_the_stream(sdk, spans):
    """An exception inside a ``.stream()`` block passes unchanged and ends the span as ``closed``."""
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with entered(sdk.helper()) as stream:
            await take(stream, 1)
            raise mine
    assert caught.value is mine
    del stream, caught, mine
    ended(await only(spans), "closed", 1)


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
async def test_stream_helper_never_entered_has_no_span(sdk, spans, replay):
    """A ``.stream()`` manager that is never entered sends no request and has no span."""
    sdk.helper()
    assert await exported(spans) == []
    assert replay.log == []
