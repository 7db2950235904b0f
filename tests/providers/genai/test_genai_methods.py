"""google-genai: one span per request of each method, errors, retries and hooks."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from genai_calls import COLOURS, ONCE, STREAMED, USAGE, Side, exported, only
from google.genai import errors, types
from google_server import Gemini, answer, collect, resolve
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

import llmtrace
from llmtrace.providers.hosts import provider_of

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning"),
]


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
    assert len(gemini.received) == 3
    assert (await only(spans)).attributes["llmtrace.retry.count"] == 2
    if colour == "async":
        await side.client.aclose()


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
    call, reported, wanted = METHODS[method]
    if method == "images" and not vertex:
        pytest.skip("the newest releases make images of this kind on Vertex AI only")
    gemini.will(reported)
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
    assert gemini.received[0][2]["generationConfig"] == {"temperature": 0.5, "topK": 3}
    assert extra == {"generationConfig": {"topK": 3}}
    span = await only(spans)
    assert (span.attributes["gen_ai.request.temperature"], span.attributes["gen_ai.request.top_k"]) == (0.5, 3)


def test_openai_compatible_host_is_gemini() -> None:
    """The host of Gemini's OpenAI-compatible endpoint is Gemini for every client."""
    assert provider_of(object(), "generativelanguage.googleapis.com", "openai") == "gcp.gemini"
    assert provider_of(object(), "us-central1-aiplatform.googleapis.com", "openai") == "gcp.vertex_ai"


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
async def test_invalid_json_response_is_an_error(side: Side, gemini: Gemini, spans: Any) -> None:
    """A response that the SDK cannot parse is an error, although it raises outside our hooks."""
    gemini.will(b"<html>secret</html>")
    with pytest.raises(ValueError, match="Expecting value"):
        await side.ask()
    span = await only(spans)
    assert span.attributes["llmtrace.outcome"] == "error"
    assert span.attributes["error.type"] == "json.decoder.JSONDecodeError"
    assert "secret" not in repr(span.to_json())
