"""google-genai: one span per request, lazy streams, automatic function calling, and other requests."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from google import genai
from google.genai import errors, types
from google_server import Gemini, answer, collect, resolve, step
from google_tools import weather, weather_by
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

import llmtrace
from llmtrace import tag
from llmtrace.providers.hosts import provider_of
from serving import serving

USAGE = {"promptTokenCount": 8, "candidatesTokenCount": 2, "totalTokenCount": 10}
COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
# The first releases leave the connection of a stream to the collector.
leaky = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
# A retry within a test would wait for seconds; the first releases have none.
ONCE = {"retry_options": {"attempts": 1}} if "retry_options" in types.HttpOptions.model_fields else {}

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


@pytest.fixture(scope="module")
def _listening() -> Iterator[Gemini]:
    with serving(Gemini()) as server:
        yield server


@pytest.fixture
def gemini(_listening: Gemini) -> Gemini:
    """The loopback server in its initial state."""
    _listening.will(answer("Hello", usage=USAGE))
    return _listening


class Side:
    """Client under test, sync or async."""

    def __init__(self, client: Any, colour: str) -> None:
        self.whole = client
        self.client = client if colour == "sync" else client.aio
        self.colour = colour

    async def ask(self, *, stream: bool = False, **config: Any) -> Any:
        method = self.client.models.generate_content_stream if stream else self.client.models.generate_content
        return await resolve(method(model="gemini-test", contents="hello", config=config or None))


@pytest.fixture
async def side(colour: str, gemini: Gemini) -> AsyncIterator[Side]:
    """The client under test, closed afterwards."""
    made = Side(gemini.client(**ONCE), colour)
    yield made
    if colour == "async" and hasattr(made.client, "aclose"):
        await made.client.aclose()


async def exported(spans: Any, *, left: bool = False) -> list[Any]:
    """Return all spans after a flush, and after collecting the garbage of ``left``."""
    for _ in range(4 if left else 0):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    return list(spans.get_finished_spans())


async def only(spans: Any, *, left: bool = False) -> Any:
    (span,) = await exported(spans, left=left)
    return span


def tracer(spans: Any) -> trace.Tracer:
    """Return a tracer of the application that exports to the same exporter."""
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return provider.get_tracer("application")


# -- automatic function calling --------------------------------------------------------------------------------------

CALL = {"functionCall": {"name": "weather", "args": {"city": "Paris"}}}
FIRST = answer(CALL, usage={"promptTokenCount": 10, "candidatesTokenCount": 3, "totalTokenCount": 13})
SECOND = answer(
    "Sunny.",
    usage={"promptTokenCount": 20, "candidatesTokenCount": 4, "thoughtsTokenCount": 100, "totalTokenCount": 124},
)


def total(found: list[Any], name: str) -> int:
    return sum(span.attributes.get(f"gen_ai.usage.{name}_tokens", 0) for span in found)


@COLOURS
async def test_automatic_function_calling_gives_sibling_spans(side: Side, gemini: Gemini, spans: Any) -> None:
    """Each request of a call is a span with its own tokens; the tool span between them is a sibling."""
    gemini.will(FIRST, SECOND)
    with tracer(spans).start_as_current_span("application") as outer, tag(session="s"):
        response = await side.ask(tools=[weather])
    found = [span for span in await exported(spans) if span.name != "application"]
    assert response.text == "Sunny."
    assert response.usage_metadata.prompt_token_count == 20
    assert response.usage_metadata.candidates_token_count == 4
    assert [span.name for span in found] == [
        "generate_content gemini-test",
        "execute_tool weather",
        "generate_content gemini-test",
    ]
    assert {span.parent.span_id for span in found} == {outer.get_span_context().span_id}
    assert (total(found, "input"), total(found, "output")) == (30, 107)
    tool = found[1]
    assert dict(tool.attributes) == {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "weather",
        "gen_ai.tool.type": "function",
        "llmtrace.outcome": "ok",
        "openinference.span.kind": "TOOL",
        "session.id": "s",
    }
    assert tool.kind is SpanKind.INTERNAL
    assert found[0].end_time <= tool.start_time <= tool.end_time <= found[2].start_time


@COLOURS
async def test_streamed_function_calling_gives_sibling_spans(side: Side, gemini: Gemini, spans: Any) -> None:
    """The requests and tools of a stream are siblings in the context that created the stream."""
    gemini.will([FIRST], [SECOND])
    with tracer(spans).start_as_current_span("application") as outer:
        stream = await side.ask(stream=True, tools=[weather])
    await collect(stream)
    found = [span for span in await exported(spans) if span.name != "application"]
    requests = [span for span in found if span.name == "generate_content gemini-test"]
    assert (len(requests), total(found, "input"), total(found, "output")) == (2, 30, 107)
    # The first releases call the function twice.
    assert {span.name for span in found} - {requests[0].name} == {"execute_tool weather"}
    assert {span.parent.span_id for span in found} == {outer.get_span_context().span_id}


@COLOURS
async def test_failing_tool_is_an_error_on_its_span(side: Side, gemini: Gemini, spans: Any) -> None:
    """A tool that raises has an error on its span, and the model gets the error as without llmtrace."""

    def fail(city: str) -> None:
        raise ValueError("no such city: secret")

    gemini.will(FIRST, SECOND)
    response = await side.ask(tools=[weather_by(fail)])
    found = await exported(spans)
    assert response.text == "Sunny."
    assert [span.status.status_code for span in found] == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
    assert "secret" not in repr(found[1].to_json())
    told = gemini.asked[1][2]["contents"][2]["parts"][0]["functionResponse"]["response"]
    assert "no such city" in told["error"]


@COLOURS
async def test_spans_inside_a_tool_are_its_children(side: Side, gemini: Gemini, spans: Any) -> None:
    """Spans of a tool are its children, and the context is restored when it returns."""
    own = tracer(spans)

    def look(city: str) -> None:
        with own.start_as_current_span("look it up"):
            pass

    gemini.will(FIRST, SECOND)
    before = trace.get_current_span()
    await side.ask(tools=[weather_by(look)])
    assert trace.get_current_span() is before
    found = {span.name: span for span in await exported(spans)}
    assert found["look it up"].parent.span_id == found["execute_tool weather"].context.span_id


# -- lazy streams ----------------------------------------------------------------------------------------------------


@COLOURS
async def test_lazy_stream_starts_its_timing_with_its_request(side: Side, gemini: Gemini, spans: Any) -> None:
    """Before it is read, a lazy stream has no span and no request, and the wait is not measured."""
    gemini.will([answer("Hel", reason=None), answer("lo", usage=USAGE)])
    stream = await side.ask(stream=True)
    if "async" in type(stream).__name__ and gemini.asked:
        pytest.skip("this release sends the request when it is asked for the stream")
    time.sleep(0.5)
    assert gemini.asked == []
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
    assert gemini.asked == []


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
    with own.start_as_current_span("asked") as asked:
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
    assert found["generate_content gemini-test"].parent.span_id == asked.get_span_context().span_id
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
async def test_chat_messages_are_calls(side: Side, gemini: Gemini, spans: Any) -> None:
    """Messages of a chat are calls, streamed or not, and its history is unchanged."""
    chat = side.client.chats.create(model="gemini-test")
    await resolve(chat.send_message("hello"))
    gemini.will([answer("Hel", reason=None), answer("lo", usage=USAGE)])
    with tracer(spans).start_as_current_span("asked") as asked:
        stream = await resolve(chat.send_message_stream("again"))
    await collect(stream)
    assert len(gemini.asked[0][2]["contents"]) == 3
    first, streamed = (span for span in await exported(spans) if span.name != "asked")
    assert first.attributes["gen_ai.usage.input_tokens"] == streamed.attributes["gen_ai.usage.input_tokens"] == 8
    assert streamed.attributes["llmtrace.stream.chunks"] == 2
    assert streamed.parent.span_id == asked.get_span_context().span_id


# -- how a stream ends -----------------------------------------------------------------------------------------------


def ended(span: Any, end: str, outcome: str = "ok") -> None:
    assert span.attributes["llmtrace.stream.end"] == end
    assert span.attributes["llmtrace.outcome"] == outcome
    assert span.attributes["llmtrace.stream.completed"] is (end == "exhausted")
    assert (span.status.status_code is StatusCode.ERROR) is (outcome == "error")


CHUNKS = [answer("a", reason=None, usage={"promptTokenCount": 8}), answer("b", reason=None), answer("c", usage=USAGE)]


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


@COLOURS
@STREAMED
async def test_error_response_raises_the_sdks_exception(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """An error response raises the SDK's exception and records the status and Google's code."""
    gemini.will({"error": {"code": 404, "message": "secret", "status": "NOT_FOUND"}}, status=404)
    with pytest.raises(errors.ClientError) as caught:
        result = await side.ask(stream=stream)
        await collect(result)
    assert caught.value.__context__ is None
    span = await only(spans)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "404"
    assert span.attributes["http.response.status_code"] == 404
    assert span.attributes["llmtrace.error.code"] == "NOT_FOUND"
    assert [event.name for event in span.events] == ["exception"]
    assert "secret" not in repr(span.to_json())
    del caught
    with warnings.catch_warnings():
        # The SDK leaves the connection of a refused stream to the collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@COLOURS
async def test_blocked_prompt_records_its_reason(side: Side, gemini: Gemini, spans: Any) -> None:
    """A blocked prompt has no candidate, but its reason is recorded."""
    gemini.will({"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}})
    await side.ask()
    span = await only(spans)
    assert span.attributes["gen_ai.response.finish_reasons"] == ("content_filter",)
    assert span.attributes["llmtrace.response.finish_reasons_raw"] == ("SAFETY",)
    assert span.attributes["gen_ai.usage.input_tokens"] == 4


@pytest.mark.skipif(not hasattr(types, "HttpRetryOptions"), reason="the first releases do not retry")
@COLOURS
@STREAMED
async def test_retries_are_counted_in_one_span(gemini: Gemini, spans: Any, colour: str, stream: bool) -> None:
    """The SDK's retries are inside one span and counted."""
    wait = {"initial_delay": 0.001, "max_delay": 0.001, "jitter": 0.0, "attempts": 3}
    side = Side(gemini.client(retry_options=wait), colour)
    good = answer("hi", usage=USAGE)
    gemini.will((503, {"error": {"code": 503}}), (503, {"error": {"code": 503}}), (200, [good] if stream else good))
    result = await side.ask(stream=stream)
    if stream:
        await collect(result)
    assert len(gemini.asked) == 3
    assert (await only(spans)).attributes["llmtrace.retry.count"] == 2
    if colour == "async":
        await side.client.aclose()


# -- the other methods -----------------------------------------------------------------------------------------------

METHODS: dict[str, tuple[Callable[[Any], Any], dict[str, Any], dict[str, Any]]] = {
    "count_tokens": (
        lambda client: client.models.count_tokens(model="gemini-test", contents="hello"),
        {"totalTokens": 7},
        {"name": "count_tokens gemini-test", "llmtrace.usage.counted_tokens": 7},
    ),
    "create_cache": (
        lambda client: client.caches.create(model="gemini-test", config={"contents": "long", "ttl": "60s"}),
        {"name": "cachedContents/1", "model": "models/gemini-test", "usageMetadata": {"totalTokenCount": 9}},
        {"name": "create_cache gemini-test", "llmtrace.usage.counted_tokens": 9},
    ),
    "get_cache": (
        lambda client: client.caches.get(name="cachedContents/1"),
        {"name": "cachedContents/1"},
        {"name": "get_cache"},
    ),
    "update_cache": (
        lambda client: client.caches.update(name="cachedContents/1", config={"ttl": "60s"}),
        {"name": "cachedContents/1"},
        {"name": "update_cache"},
    ),
    "delete_cache": (lambda client: client.caches.delete(name="cachedContents/1"), {}, {"name": "delete_cache"}),
    "images": (
        lambda client: client.models.generate_images(
            model="imagen-test", prompt="a cat", config={"number_of_images": 2}
        ),
        {"predictions": [{"bytesBase64Encoded": "aGk=", "mimeType": "image/png"}] * 2 + [{"raiFilteredReason": "x"}]},
        {
            "name": "generate_content imagen-test",
            "gen_ai.output.type": "image",
            "gen_ai.request.choice.count": 2,
            "llmtrace.usage.images": 2,
        },
    ),
    "speech": (
        lambda client: client.models.generate_content(
            model="tts-test", contents="hi", config={"response_modalities": ["AUDIO"]}
        ),
        answer(
            {"inlineData": {"mimeType": "audio/L16", "data": "aGk="}},
            usage={
                "promptTokenCount": 3,
                "candidatesTokenCount": 5,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 5}],
            },
        ),
        {
            "name": "generate_content tts-test",
            "gen_ai.output.type": "speech",
            "gen_ai.usage.audio.output_tokens": 5,
            "gen_ai.usage.output_tokens": 5,
        },
    ),
}


@COLOURS
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("vertex", [False, True], ids=["gemini", "vertex"])
async def test_each_method_is_one_named_span(
    gemini: Gemini, spans: Any, method: str, colour: str, vertex: bool
) -> None:
    """Each method is one span with its own name on both services, with usage if it is billed."""
    call, told, wanted = METHODS[method]
    if method == "images" and not vertex:
        pytest.skip("the newest releases make images of this kind on Vertex AI only")
    gemini.will(told)
    side = Side(gemini.client(vertex=vertex, **ONCE), colour)
    try:
        await resolve(call(side.client))
    except AttributeError:
        if method not in ("delete_cache",):
            raise
    span = await only(spans)
    attributes = {**span.attributes, "name": span.name}
    assert {name: attributes.get(name) for name in wanted} == wanted
    assert attributes["gen_ai.provider.name"] == ("gcp.vertex_ai" if vertex else "gcp.gemini")
    if "cache" in method or method == "count_tokens":
        assert not [name for name in attributes if name.startswith("gen_ai.usage.")]
    if colour == "async" and hasattr(side.client, "aclose"):
        await side.client.aclose()


@COLOURS
async def test_older_vertex_embeddings_are_predictions(gemini: Gemini, spans: Any, colour: str) -> None:
    """Embeddings of older models are predictions, each with a token count."""
    gemini.will({"predictions": [{"embeddings": {"values": [0.5, 0.25], "statistics": {"token_count": 2.0}}}] * 2})
    side = Side(gemini.client(vertex=True, **ONCE), colour)
    await resolve(side.client.models.embed_content(model="text-embedding-005", contents=["a", "b"]))
    span = await only(spans)
    assert span.name == "embeddings text-embedding-005"
    assert span.attributes["gen_ai.usage.input_tokens"] == 4
    assert span.attributes["gen_ai.embeddings.dimension.count"] == 2
    if colour == "async" and hasattr(side.client, "aclose"):
        await side.client.aclose()


@COLOURS
async def test_other_requests_have_no_span(side: Side, gemini: Gemini, spans: Any) -> None:
    """Requests of other kinds pass unchanged."""
    gemini.will({"name": "models/gemini-test"})
    await resolve(side.client.models.get(model="gemini-test"))
    assert await exported(spans) == []


@pytest.mark.skipif("extra_body" not in types.HttpOptions.model_fields, reason="the first releases have no extra_body")
@COLOURS
async def test_extra_body_parameters_are_recorded(side: Side, gemini: Gemini, spans: Any) -> None:
    """Parameters that are merged into the body late are recorded, and the body is unchanged."""
    extra = {"generationConfig": {"topK": 3}}
    await side.ask(temperature=0.5, http_options={"extra_body": extra})
    assert gemini.asked[0][2]["generationConfig"] == {"temperature": 0.5, "topK": 3}
    assert extra == {"generationConfig": {"topK": 3}}
    span = await only(spans)
    assert (span.attributes["gen_ai.request.temperature"], span.attributes["gen_ai.request.top_k"]) == (0.5, 3)


def test_openai_compatible_host_is_gemini() -> None:
    """The host of Gemini's OpenAI-compatible endpoint is Gemini for every client."""
    assert provider_of(object(), "generativelanguage.googleapis.com", "openai") == "gcp.gemini"
    assert provider_of(object(), "us-central1-aiplatform.googleapis.com", "openai") == "gcp.vertex_ai"


# -- put in place and taken away -------------------------------------------------------------------------------------


def hooked() -> dict[str, Any]:
    from google.genai import _api_client, _extra_utils, chats, models

    owner = getattr(_api_client, "BaseApiClient", None) or _api_client.ApiClient
    places = [
        *((owner, name) for name in ("request", "request_streamed", "async_request", "async_request_streamed")),
        (models.Models, "generate_content_stream"),
        (models.AsyncModels, "generate_content_stream"),
        (chats.Chat, "send_message_stream"),
        (_extra_utils, "invoke_function_from_dict_args"),
    ]
    return {f"{place.__name__}.{name}": vars(place)[name] for place, name in places}


def test_uninstrument_restores_the_original_functions(gemini: Gemini) -> None:
    """Undoing the hooks restores the identical functions."""
    before = hooked()
    done = llmtrace.instrument(tracer_provider=TracerProvider(), clients=["google_genai"])
    assert llmtrace.instrument() is done
    assert done.patched.keys() == {"google_genai"}
    assert "google_genai" not in done.skipped
    assert all(one is not before[name] for name, one in hooked().items())
    llmtrace.uninstrument()
    assert all(one is before[name] for name, one in hooked().items())


@COLOURS
async def test_instrument_twice_gives_one_span(side: Side, gemini: Gemini, spans: Any) -> None:
    """Instrumenting twice gives one span per call."""
    llmtrace.instrument()
    await side.ask()
    assert len(await exported(spans)) == 1


def test_missing_function_is_reported(gemini: Gemini, monkeypatch: pytest.MonkeyPatch) -> None:
    """A release without one of the functions is reported, and the rest is traced."""
    from google.genai import _api_client

    owner = getattr(_api_client, "BaseApiClient", None) or _api_client.ApiClient
    monkeypatch.delattr(owner, "async_request_streamed")
    with llmtrace.instrument(tracer_provider=TracerProvider()) as done:
        assert "async_request_streamed" in done.skipped["google_genai"]
        assert gemini.client().models.generate_content(model="m", contents="hi").text == "Hello"


@COLOURS
@STREAMED
async def test_suppressed_calls_and_tools_have_no_span(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """Under suppression there is no span, not for tools either."""
    from opentelemetry import context

    gemini.will(*([FIRST], [SECOND]) if stream else (FIRST, SECOND))
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        result = await side.ask(stream=stream, tools=[weather])
        if stream:
            await collect(result)
    finally:
        context.detach(token)
    assert await exported(spans) == []


# -- interactions ----------------------------------------------------------------------------------------------------

INTERACTION = {
    "id": "i1",
    "status": "completed",
    "model": "gemini-test-001",
    "service_tier": "standard",
    "steps": [],
    "usage": {"total_input_tokens": 8, "total_output_tokens": 2, "total_thought_tokens": 5, "total_tool_use_tokens": 4},
}
EVENTS = [
    {"event_type": "interaction.created", "interaction": {"id": "i1", "status": "in_progress", "model": "gemini-test"}},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Hello"}},
    {"event_type": "interaction.completed", "interaction": INTERACTION},
]
has_interactions = pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="no interactions yet")


def interact(side: Side, **more: Any) -> Any:
    return side.client.interactions.create(model="gemini-test", input="hello", **more)


def billed(span: Any) -> None:
    assert span.name == "generate_content gemini-test"
    assert span.attributes["gen_ai.usage.input_tokens"] == 12
    assert span.attributes["gen_ai.usage.output_tokens"] == 7
    assert span.attributes["gen_ai.usage.reasoning.output_tokens"] == 5
    assert span.attributes["gen_ai.response.finish_reasons"] == ("stop",)


@has_interactions
@COLOURS
async def test_interaction_is_one_call(side: Side, gemini: Gemini, spans: Any) -> None:
    """An interaction is one call; fetching it again counts nothing."""
    gemini.will(INTERACTION)
    made = await resolve(interact(side, previous_interaction_id="i0"))
    await resolve(side.client.interactions.get(id="i1"))
    assert made.id == "i1"
    created, fetched = await exported(spans)
    billed(created)
    assert created.attributes["gen_ai.request.previous_response.id"] == "i0"
    assert fetched.name == "fetch_response"
    assert fetched.attributes["gen_ai.response.id"] == "i1"
    assert not [name for name in fetched.attributes if name.startswith("gen_ai.usage.")]


@has_interactions
@COLOURS
async def test_interaction_stream_is_accumulated(side: Side, gemini: Gemini, spans: Any) -> None:
    """The events of a stream are accumulated."""
    gemini.will(EVENTS)
    assert len(await collect(await resolve(interact(side, stream=True)))) == 4
    span = await only(spans)
    billed(span)
    ended(span, "exhausted")


@has_interactions
@COLOURS
@pytest.mark.parametrize("end", ["closed", "dropped"])
async def test_interaction_stream_closed_or_dropped_is_distinguished(
    side: Side, gemini: Gemini, spans: Any, end: str
) -> None:
    """A closed stream and a dropped stream have different ends."""
    gemini.will(EVENTS)
    stream = await resolve(interact(side, stream=True))
    await step(stream)
    if end == "closed":
        await resolve(stream.close())
    else:
        del stream
    ended(await only(spans, left=True), end)


@has_interactions
@COLOURS
@STREAMED
async def test_interaction_error_records_its_status(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """An error records its status, although the SDK raises outside our hooks."""
    gemini.will({"error": {"code": "not_found", "message": "secret"}}, status=404)
    with pytest.raises(Exception, match=r"404|secret"):
        await resolve(interact(side, stream=stream))
    span = await only(spans)
    assert span.attributes["error.type"] == "404"
    assert span.attributes["http.response.status_code"] == 404
    assert span.status.status_code is StatusCode.ERROR
    assert "secret" not in repr(span.to_json())


@has_interactions
@COLOURS
@STREAMED
async def test_interaction_raw_response_has_usage(side: Side, gemini: Gemini, spans: Any, stream: bool) -> None:
    """Raw responses are unchanged, and usage is read as the caller reads the body."""
    gemini.will(EVENTS if stream else INTERACTION)
    raw = await resolve(
        side.client.interactions.with_raw_response.create(model="gemini-test", input="hello", stream=stream)
    )
    parsed = await resolve(raw.parse())
    if stream:
        await collect(parsed)
    billed(await only(spans))


@COLOURS
async def test_invalid_json_response_is_an_error(side: Side, gemini: Gemini, spans: Any) -> None:
    """A response that the SDK cannot parse is an error, although it raises outside our hooks."""
    gemini.will(b"<html>secret</html>")
    with pytest.raises(ValueError, match="Expecting value"):
        await side.ask()
    span = await only(spans)
    assert span.attributes["llmtrace.outcome"] == "error"
    assert span.attributes["error.type"] == "json.decoder.JSONDecodeError"
    assert "secret" not in repr(span.to_json())
