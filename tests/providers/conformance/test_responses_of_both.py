"""Both vendors, sync and async: calls, raw responses and hooks."""

from __future__ import annotations

import asyncio
import inspect

import anthropic
import pytest
from conformance_calls import (
    ANTHROPIC,
    ASYNC,
    NATIVE,
    QUESTION,
    Sdk,
    ended,
    entered,
    exported,
    exporting,
    only,
    resolve,
    sdks,
    take,
    used,
)
from opentelemetry import context as otel_context
from opentelemetry.trace import StatusCode

import llmtrace


async def test_plain_call_is_one_span_with_usage(sdk, spans):
    """A call without a stream is one span with the vendor's usage."""
    await sdk.create(stream=False)
    span = await only(spans)
    used(span, sdk.vendor.plain)
    assert span.attributes["llmtrace.outcome"] == "ok"
    assert span.status.status_code is not StatusCode.ERROR
    assert "llmtrace.stream.end" not in span.attributes


async def test_error_response_is_one_error_span(sdk, spans):
    """A response of status 500 is one span of status ERROR and the vendor's own exception."""
    with pytest.raises(sdk.vendor.module.InternalServerError):
        await sdk.create(stream=False, headers={"x-fault": "status=500"})
    span = await only(spans)
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["llmtrace.outcome"], span.attributes["error.type"]) == ("error", "500")


@sdks(ASYNC)
async def test_task_cancelled_before_headers_is_cancelled(sdk, spans):
    """A task cancelled while it waits for the headers is ``cancelled``, not an error."""
    task = asyncio.ensure_future(sdk.create(headers={"x-fault": "slow-headers=1"}))
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    span = await only(spans)
    assert span.attributes["llmtrace.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_current_context_is_unchanged(sdk, spans):
    """The current OpenTelemetry context is the same object before the call, after it and while reading."""
    before = otel_context.get_current()
    stream = await sdk.create()
    assert otel_context.get_current() is before
    await take(stream, 1)
    assert otel_context.get_current() is before
    await take(stream)
    await sdk.create(stream=False)
    assert otel_context.get_current() is before
    assert len(await exported(spans)) == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_generator_of_messages_reaches_the_server(sdk, spans, replay, stream):
    """Messages from a generator arrive completely, since llmtrace does not consume it."""
    answer = await sdk.create(stream=stream, messages=(message for message in QUESTION))
    if stream:
        await take(answer)
    assert replay.log[-1]["body"]["messages"] == QUESTION
    await only(spans)


@pytest.mark.parametrize("stream", [False, True])
async def test_list_argument_is_recorded_as_sent(sdk, spans, stream):
    """A list among the arguments is recorded as it was sent, even if the caller changes it afterwards."""
    stop = ["END"]
    name = "stop_sequences" if sdk.vendor is ANTHROPIC else "stop"
    answer = await sdk.create(stream=stream, **{name: stop})
    stop.append("later")
    if stream:
        await take(answer)
        stop.append("later still")
    assert (await only(spans)).attributes["gen_ai.request.stop_sequences"] == ("END",)


async def test_raw_response_is_one_span_with_usage(sdk, spans):
    """``with_raw_response`` is one span with usage, parsed or not."""
    raw = await resolve(sdk.resource.with_raw_response.create(**sdk.arguments(stream=False)))
    used(await only(spans), sdk.vendor.plain)
    assert (await resolve(raw.parse())).usage is not None
    await only(spans)


async def test_stream_of_raw_response_ends_normally(sdk, spans):
    """A stream parsed from a raw response is the SDK's own and ends as any other does."""
    raw = await resolve(sdk.resource.with_raw_response.create(**sdk.arguments(stream=True), stream=True))
    stream = await resolve(raw.parse())
    assert type(stream) is sdk.stream_class
    items = await take(stream)
    span = await only(spans)
    ended(span, "exhausted", len(items))
    used(span, sdk.vendor.streamed)


@pytest.mark.parametrize("reading", ["parse", "read", "iter_bytes"])
async def test_streaming_response_usage_is_read_with_the_body(sdk, spans, reading):
    """The caller reads the body of a streaming response, and usage is read at that time."""
    async with entered(sdk.resource.with_streaming_response.create(**sdk.arguments(stream=False))) as response:
        assert response.http_response.is_stream_consumed is False
        if reading == "iter_bytes":
            assert b"usage" in b"".join(await take(response.iter_bytes()))
        else:
            assert await resolve(getattr(response, reading)())
    span = await only(spans)
    used(span, sdk.vendor.plain)
    assert span.attributes["llmtrace.outcome"] == "ok"


@pytest.mark.parametrize("reading", ["parse", "iter_lines"])
async def test_streaming_response_of_a_stream_has_usage(sdk, spans, replay, reading):
    """The response is returned before the stream is sent; usage is read as the stream is read."""
    arguments = sdk.arguments(stream=True, headers={"x-delay-chunk": "0.1"})
    async with entered(sdk.resource.with_streaming_response.create(**arguments, stream=True)) as response:
        assert replay.log[-1]["events_sent"] < 3
        assert response.http_response.is_stream_consumed is False
        await take(await resolve(response.parse()) if reading == "parse" else response.iter_lines())
    span = await only(spans)
    used(span, sdk.vendor.streamed)
    assert span.attributes["llmtrace.stream.end"] == "exhausted"


async def test_unread_streaming_response_is_one_span(sdk, spans):
    """A streaming response whose body is never read is still exactly one span."""
    async with entered(sdk.resource.with_streaming_response.create(**sdk.arguments(stream=False))) as response:
        assert response.http_response.is_stream_consumed is False
    del response
    assert "gen_ai.usage.input_tokens" not in (await only(spans)).attributes


@sdks(NATIVE)
@pytest.mark.parametrize("stream", [False, True])
async def test_native_span_is_replaced_until_uninstrument(sdk, spans, replay, stream):
    """The SDK's own span is replaced by ours and returns after ``uninstrument``."""
    if "open_telemetry" not in inspect.signature(anthropic.Anthropic).parameters:
        pytest.skip("this release has no spans of its own")
    own = Sdk(sdk.vendor, sdk.colour, replay.url, open_telemetry={"tracer_provider": exporting(spans)})
    scopes = []
    for instrumented in (True, False):
        if not instrumented:
            llmtrace.uninstrument()
            spans.clear()
        answer = await own.create(stream=stream)
        if stream:
            await take(answer)
        del answer
        scopes.append((await only(spans)).instrumentation_scope.name)
    assert scopes[0].startswith("llmtrace")
    assert "anthropic" in scopes[1]
    await own.close()


async def test_uninstrument_restores_the_original_functions(sdk, spans):
    """``uninstrument`` restores the identical functions, and later calls have no span."""
    kind = getattr(sdk.vendor.module._base_client, "SyncAPIClient" if sdk.colour == "sync" else "AsyncAPIClient")
    llmtrace.uninstrument()
    before = kind.__dict__["request"]
    assert inspect.isfunction(before)
    assert not hasattr(before, "__wrapped__")
    llmtrace.instrument(tracer_provider=exporting(spans))
    assert kind.__dict__["request"] is not before
    llmtrace.uninstrument()
    assert kind.__dict__["request"] is before
    await take(await sdk.create())
    assert await exported(spans) == []


@pytest.mark.parametrize("stream", [False, True])
async def test_instrument_twice_gives_one_span(sdk, spans, stream):
    """``instrument`` called again still creates one span per call."""
    llmtrace.instrument(tracer_provider=exporting(spans))
    answer = await sdk.create(stream=stream)
    if stream:
        await take(answer)
    await only(spans)
