"""Guarantees of every instrumented SDK, tested for each vendor, sync and async."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import threading
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import context as otel_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import StatusCode

import llmtrace

DONE = object()
QUESTION = [{"role": "user", "content": "What is the capital of France?"}, {"role": "assistant", "content": "Paris"}]


@dataclass(frozen=True)
class Vendor:
    """Differences between two SDKs with the same base client."""

    module: Any
    name: str
    path: str
    arguments: dict[str, Any]
    plain: tuple[str, int, int]  # cassette, input tokens, output tokens
    streamed: tuple[str, int, int]
    text: str
    final: str

    def kind(self, name: str, colour: str) -> Any:
        return getattr(self.module, name if colour == "sync" else f"Async{name}")


OPENAI = Vendor(
    module=openai,
    name="OpenAI",
    path="/v1",
    arguments={"model": "gpt-5"},
    plain=("openai-chat-completions-sync-plain-b05d82", 23, 6),
    streamed=("openai-chat-completions-stream-plain-daaac4", 13, 11),
    text="Paris.",
    final="get_final_completion",
)
ANTHROPIC = Vendor(
    module=anthropic,
    name="Anthropic",
    path="",
    arguments={"model": "claude-3-haiku-20240307", "max_tokens": 300},
    plain=("anthropic-messages-sync-plain-b17370", 213, 104),
    streamed=("anthropic-messages-stream-plain-e496f7", 19, 5),
    text="10",
    final="get_final_message",
)


class Sdk:
    """Client of one vendor, sync or async, connected to the replay server."""

    def __init__(self, vendor: Vendor, colour: str, url: str, **options: Any) -> None:
        self.vendor, self.colour = vendor, colour
        self.client = vendor.kind(vendor.name, colour)(
            base_url=url + vendor.path, api_key="x", max_retries=0, **options
        )
        self.stream_class = vendor.kind("Stream", colour)

    @property
    def resource(self) -> Any:
        return self.client.messages if self.vendor is ANTHROPIC else self.client.chat.completions

    def arguments(self, *, stream: bool, headers: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
        cassette = (self.vendor.streamed if stream else self.vendor.plain)[0]
        out = {**self.vendor.arguments, "messages": QUESTION, **more}
        return {**out, "extra_headers": {"x-cassette-id": cassette, **(headers or {})}}

    async def create(self, *, stream: bool = True, headers: dict[str, str] | None = None, **more: Any) -> Any:
        extra = {"stream": True} if stream else {}
        return await resolve(self.resource.create(**self.arguments(stream=stream, headers=headers, **more), **extra))

    def helper(self, **more: Any) -> Any:
        resource = self.resource
        if not hasattr(resource, "stream"):
            resource = self.client.beta.chat.completions
        return resource.stream(**self.arguments(stream=True, **more))

    async def close(self) -> None:
        await resolve(self.client.close())


async def resolve(value: Any) -> Any:
    """Return ``value``, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


async def step(stream: Any) -> Any:
    """Return the next item of a synchronous or asynchronous iterator, or ``DONE``."""
    return await anext(stream, DONE) if hasattr(stream, "__anext__") else next(stream, DONE)


async def take(stream: Any, count: int | None = None) -> list[Any]:
    """Return the items of a ``for`` statement that is left by ``break`` after ``count`` items."""
    items = []
    if hasattr(stream, "__aiter__"):
        async for item in stream:
            items.append(item)
            if len(items) == count:
                break
    else:
        for item in stream:
            items.append(item)
            if len(items) == count:
                break
    return items


@contextlib.asynccontextmanager
async def entered(manager: Any) -> Any:
    """Enter a context manager by ``with`` or ``async with``."""
    if hasattr(manager, "__aenter__"):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def exported(spans: Any) -> list[Any]:
    """Return all spans after garbage collection and a flush of llmtrace."""
    for _ in range(2):
        gc.collect()
        await asyncio.sleep(0.01)
    llmtrace.flush(2)
    return list(spans.get_finished_spans())


async def only(spans: Any) -> Any:
    found = await exported(spans)
    assert len(found) == 1, [(span.name, dict(span.attributes)) for span in found]
    return found[0]


def ended(span: Any, end: str, chunks: int | None = None, outcome: str = "ok") -> None:
    got = span.attributes
    assert got["llmtrace.stream.end"] == end
    assert got["llmtrace.outcome"] == outcome
    assert got["llmtrace.stream.completed"] is (end == "exhausted")
    assert (span.status.status_code is StatusCode.ERROR) is (outcome == "error")
    if chunks is not None:
        assert got["llmtrace.stream.chunks"] == chunks
    if chunks:
        # Two clocks, one of them the wall's: they agree to a millisecond, not exactly.
        seconds = (span.end_time - span.start_time) / 1e9
        assert 0 < got["gen_ai.response.time_to_first_chunk"] < seconds + 0.001


def used(span: Any, expected: tuple[str, int, int]) -> None:
    _, tokens_in, tokens_out = expected
    assert span.attributes["gen_ai.usage.input_tokens"] == tokens_in
    assert span.attributes["gen_ai.usage.output_tokens"] == tokens_out


def exporting(spans: Any) -> TracerProvider:
    """Return another provider that exports to the same exporter."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider


EVERY = [(vendor, colour) for vendor in (OPENAI, ANTHROPIC) for colour in ("sync", "async")]
ASYNC = [pair for pair in EVERY if pair[1] == "async"]
NATIVE = [pair for pair in EVERY if pair[0] is ANTHROPIC]


def named(pair: tuple[Vendor, str]) -> str:
    return f"{pair[0].name.lower()}-{pair[1]}"


def sdks(pairs: list[tuple[Vendor, str]]) -> Any:
    return pytest.mark.parametrize("sdk", pairs, ids=named, indirect=True)


@pytest.fixture(params=EVERY, ids=named)
async def sdk(request: Any, spans: Any, replay: Any) -> Any:
    replay.reset()
    made = Sdk(*request.param, replay.url)
    yield made
    await made.close()


# How a plain call ends


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


# How a stream ends


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


# Where a stream is read, and what surrounds it


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


async def test_stream_has_the_class_of_the_sdk(sdk, spans):
    """The returned stream has the class and attributes of the SDK's stream."""
    stream = await sdk.create()
    assert type(stream) is sdk.stream_class
    assert stream.response.status_code == 200
    await take(stream)
    ended(await only(spans), "exhausted")


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


# Raw and streaming responses


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


# The `.stream()` helpers


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


# The vendor's own spans, and undoing it all


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
