"""Images and audio through the real client."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import openai
import pytest
from answers import sse
from loopback import Loopback, ServerResponse, json_answer, stream_answer
from openai import AsyncOpenAI, OpenAI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace


def test_transcription_counts_its_tokens(replay: Any, spans: InMemorySpanExporter) -> None:
    """A transcription is one span with the reported tokens, audio counted separately."""
    with OpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0) as client:
        client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", BytesIO(b"RIFF")))
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert span.name == "generate_content gpt-4o-transcribe"
    assert attributes["gen_ai.output.type"] == "text"
    assert attributes["gen_ai.usage.input_tokens"] == 1
    assert attributes["gen_ai.usage.output_tokens"] == 5
    assert attributes["gen_ai.usage.audio.input_tokens"] == 1


async def test_image_without_usage_is_marked_missing(replay: Any, spans: InMemorySpanExporter) -> None:
    """An image without reported usage is one span that is marked as missing usage."""
    async with AsyncOpenAI(base_url=f"{replay.url}/v1", api_key="x", max_retries=0) as client:
        await client.images.generate(model="dall-e-2", prompt="a white siamese cat", size="256x256")
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.output.type"] == "image"
    assert attributes["llmtrace.usage.source"] == "missing"
    assert "gen_ai.usage.input_tokens" not in attributes


USAGE = {
    "input_tokens": 50,
    "output_tokens": 4160,
    "total_tokens": 4210,
    "input_tokens_details": {"text_tokens": 50, "image_tokens": 0},
}


@pytest.mark.skipif(openai.__version__ < "2", reason="images are not streamed yet")
def test_streamed_image_counts_as_a_plain_one(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Tokens of an image are counted and priced as image tokens, streamed or not."""
    picture = {"b64_json": "aa", "created_at": 1, "size": "x", "quality": "low", "background": "auto"}
    ended = {"type": "image_generation.completed", "output_format": "png", "usage": USAGE, **picture}
    with OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        loopback.will(json_answer({"created": 1, "data": [{"b64_json": "aa"}], "usage": USAGE}))
        client.images.generate(model="gpt-image-1.5", prompt="x")
        loopback.will(stream_answer(sse([ended])))
        list(client.images.generate(model="gpt-image-1.5", prompt="x", stream=True))
    plain, streamed = (dict(span.attributes or {}) for span in spans.get_finished_spans())
    names = ("gen_ai.usage.image.output_tokens", "llmtrace.usage.images", "gen_ai.usage.cost")
    assert [plain[name] for name in names] == [streamed[name] for name in names]


def test_text_tokens_of_an_image_are_counted_separately(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Text and image tokens that the vendor reports separately are separate on the span."""
    usage = {**USAGE, "output_tokens_details": {"image_tokens": 4000, "text_tokens": 160}}
    loopback.will(json_answer({"created": 1, "data": [{"b64_json": "aa"}], "usage": usage}))
    with OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        client.images.generate(model="gpt-image-1.5", prompt="x")
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.usage.image.output_tokens"] == 4000
    assert attributes["gen_ai.usage.text.output_tokens"] == 160


@pytest.mark.parametrize("streaming", [False, True])
def test_speech_events_report_usage(loopback: Loopback, spans: InMemorySpanExporter, streaming: bool) -> None:
    """The last event of streamed speech has the usage, and the caller gets every byte."""
    usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}
    parts = sse([{"type": "speech.audio.delta", "audio": "aa"}, {"type": "speech.audio.done", "usage": usage}])
    loopback.will(stream_answer(parts))
    arguments: Any = {"model": "m", "voice": "alloy", "input": "hi", "extra_body": {"stream_format": "sse"}}
    with OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        if streaming:
            with client.audio.speech.with_streaming_response.create(**arguments) as response:
                assert b"".join(response.iter_bytes()) == b"".join(parts)
        else:
            assert client.audio.speech.create(**arguments).read() == b"".join(parts)
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes["gen_ai.usage.input_tokens"] == 14
    assert attributes["gen_ai.usage.output_tokens"] == 101


def test_speech_bytes_are_not_kept(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """An audio body passes to the caller, and none of it is kept."""
    loopback.will(ServerResponse([b"\xff\xf3" * 4000, b"\xff\xf3" * 4000], kind="audio/mpeg"))
    with (
        OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client,
        client.audio.speech.with_streaming_response.create(model="m", voice="alloy", input="hi") as response,
    ):
        body = response.iter_bytes()
        read = next(body)
        assert not response.http_response.stream._self_reader._data  # type: ignore[attr-defined] # ours
        assert read + b"".join(body) == b"\xff\xf3" * 8000
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.usage.source"] == "missing"


@pytest.mark.parametrize(
    ("model", "cost", "characters"), [("tts-1", "0.000165", 11), ("tts-1-hd", "0.00033", 11), ("m", None, None)]
)
def test_speech_characters_are_counted_from_the_request(
    loopback: Loopback, spans: InMemorySpanExporter, model: str, cost: str | None, characters: int | None
) -> None:
    """The characters are counted in the request, since the response is audio only."""
    loopback.will(ServerResponse([b"sound"], kind="audio/mpeg"))
    with OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        assert client.audio.speech.create(model=model, voice="alloy", input="hello w\N{SNOWMAN}rld").read() == b"sound"
    llmtrace.flush()
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert attributes.get("llmtrace.usage.characters") == characters
    assert attributes.get("llmtrace.cost.exact") == cost
    assert ("llmtrace.cost.unpriced_reason" in attributes) == (cost is None)


def test_rejected_speech_is_not_billed(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A request that the vendor rejected has no characters to bill."""
    loopback.will(json_answer({"error": {"message": "no", "type": "invalid_request_error"}}, status=400))
    with OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client, pytest.raises(openai.BadRequestError):
        client.audio.speech.create(model="tts-1", voice="alloy", input="hello")
    (span,) = spans.get_finished_spans()
    assert not {name for name in span.attributes or {} if name.startswith(("llmtrace.usage.char", "llm.cost"))}
