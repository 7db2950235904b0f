"""Recorded Mistral exchanges through the mistralai client: one correct span each, with content and without."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import check_shapes, flushed_attributes, output_messages, recorded_messages
from mistral_calls import COLOURS, Side, read
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from recordings import Cassette, expected_attributes

NAMES = {"chat.completions": "chat", "embeddings": "embeddings"}


def all_of_mistral(cassettes: list[Cassette]) -> list[Cassette]:
    return [each for each in cassettes if each["provider"] == "mistral" and each["surface"] in NAMES]


async def ask(cassette: Cassette, colour: str, url: str) -> list[Any]:
    """Send the recorded request again, and return what the caller gets."""
    body = dict(cassette["request"]["body"])
    stream = body.pop("stream", False)
    if "input" in body:  # the client calls it ``inputs``
        body = {"model": body["model"], "inputs": body["input"]}
    if "tools" in body:  # the first releases want the default, too
        body["tools"] = [{"type": "function", **tool} for tool in body["tools"]]
    side = Side(colour, url)
    headers = {"x-cassette-id": cassette["id"]}
    got = await read(await side.ask(NAMES[cassette["surface"]], stream=stream, http_headers=headers, **body))
    await side.close()
    return got


@pytest.mark.cassettes(choose=all_of_mistral)
@COLOURS
async def test_recorded_exchange_is_one_correct_span(
    cassette: Cassette, colour: str, replay: Any, spans: InMemorySpanExporter
) -> None:
    """A recorded exchange through the SDK has one span with the recorded values, and no content."""
    assert await ask(cassette, colour, replay.url)
    found = flushed_attributes(spans)
    wanted = expected_attributes(cassette)
    assert {name: found.get(name) for name in wanted} == wanted
    assert found["gen_ai.provider.name"] == "mistral_ai"
    assert found["llmtrace.outcome"] == "ok"
    assert found.get("llmtrace.stream.end") == ("exhausted" if cassette["streaming"] else None)
    assert "gen_ai.output.messages" not in found


@pytest.mark.cassettes(choose=lambda cassettes: [c for c in all_of_mistral(cassettes) if c["surface"] != "embeddings"])
@COLOURS
async def test_content_on_the_span_is_that_of_the_recording(
    cassette: Cassette, colour: str, replay: Any, content_spans: InMemorySpanExporter
) -> None:
    """With content on, the span has the text, the reasoning and the tool calls of the recording."""
    assert await ask(cassette, colour, replay.url)
    found = flushed_attributes(content_spans)
    check_shapes(found)
    assert output_messages(found) == recorded_messages(cassette)
