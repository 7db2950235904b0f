"""Recorded images and transcriptions of OpenAI through its client: one correct span each, with content and without."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import flushed_attributes, resolve
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette, expected_attributes

from stainless_clients import make_client

COUNTS = ("input_tokens", "output_tokens")


def all_of_media(cassettes: list[Cassette]) -> list[Cassette]:
    return [each for each in cassettes if each["surface"] in ("audio.transcriptions", "images.generate")]


async def ask(cassette: Cassette, colour: str, url: str) -> dict[str, Any]:
    """Send the recorded request again, and return what the caller gets."""
    request, headers = cassette["request"], {"x-cassette-id": cassette["id"]}
    client = make_client("openai", colour, f"{url}/v1", default_headers=headers)
    if cassette["surface"] == "images.generate":
        result = await resolve(client.images.generate(**request["body"]))
    else:
        form = {field["name"]: field.get("value") for field in request["form"]}
        form["file"] = ("audio.wav", b"RIFF" + bytes(4840))
        result = await resolve(client.audio.transcriptions.create(**form))
    await resolve(client.close())
    got: dict[str, Any] = result.model_dump()
    return got


@pytest.mark.cassettes(choose=all_of_media)
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_recorded_exchange_is_one_correct_span(
    cassette: Cassette, colour: str, replay: Any, spans: InMemorySpanExporter
) -> None:
    """The span has the recorded values and no content, and the caller gets the recorded body."""
    got = await ask(cassette, colour, replay.url)
    body = cassette["response"]["body_json"]
    assert all(got[name] == body[name] for name in ("text", "created") if name in body)
    found = flushed_attributes(spans)
    wanted = expected_attributes(cassette)
    usage = cassette["expected"]["usage"] or {}
    wanted |= {f"gen_ai.usage.{name}": usage.get(name) for name in COUNTS}
    if usage:  # the form names the model
        wanted["gen_ai.request.model"] = cassette["request"]["form"][0]["value"]
        wanted["gen_ai.usage.audio.input_tokens"] = usage["input_token_details"]["audio_tokens"]
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["gen_ai.operation.name"] == "generate_content"
    assert found["llmtrace.outcome"] == "ok"
    assert not [name for name in found if name.endswith(".messages")]


@pytest.mark.cassettes(choose=all_of_media)
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_content_on_the_span_is_that_of_the_recording(
    cassette: Cassette, colour: str, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the text of the prompt or of the transcription."""
    await ask(cassette, colour, replay.url)
    found = flushed_attributes(content_spans)
    if cassette["surface"] == "images.generate":
        assert "a white siamese cat" in found["gen_ai.input.messages"]
        assert "img-XzvuKcPQCMjWaLL6XNRMBt2D.png" in found["gen_ai.output.messages"]
    else:
        assert cassette["response"]["body_json"]["text"] in found["gen_ai.output.messages"]
