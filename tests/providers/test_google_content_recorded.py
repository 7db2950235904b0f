"""Content of recorded Gemini exchanges on the spans of the same calls."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google_recordings import IGNORED_WARNINGS, Cassette, all_of_google, call_async, call_sync
from helpers import check_shapes, flushed_attributes, output_messages, recorded_messages
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.providers.google.embeddings import EMBED
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.telemetry.content import describe_content
from llmtrace.telemetry.content_policy import ContentPolicy
from shapes import problems

pytestmark = IGNORED_WARNINGS

FORMATS = {"generate_content": GENERATE, "embed_content": EMBED, "interactions": INTERACTIONS}


def with_content(cassettes: list[Cassette]) -> list[Cassette]:
    return [one for one in all_of_google(cassettes) if one["surface"] in FORMATS]


def with_bodies(cassettes: list[Cassette]) -> list[Cassette]:
    return [one for one in with_content(cassettes) if one["request"]["body"]]


def few_of_each_surface(cassettes: list[Cassette]) -> list[Cassette]:
    """Return three recordings of each surface, for the slower asynchronous client."""
    kept: dict[tuple[str, bool], list[Cassette]] = {}
    for one in with_content(cassettes):
        kept.setdefault((one["surface"], one["streaming"]), []).append(one)
    return [one for group in kept.values() for one in group[:3]]


def texts_of(value: Any) -> list[str]:
    """Return all readable texts in a recorded request or response, in order."""
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) and value["text"] else []
        return own + [text for key, item in value.items() if key != "text" for text in texts_of(item)]
    return [text for item in value for text in texts_of(item)] if isinstance(value, list) else []


def check_answer(cassette: Cassette, attributes: dict[str, Any]) -> None:
    check_shapes(attributes)
    if cassette["surface"] == "interactions":
        texts = "".join(message["reasoning"] + message["text"] for message in output_messages(attributes))
        body = cassette["response"]["body"]
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        wanted = (
            [event["delta"] for event in events if "delta" in event] if events else json.loads(body).get("steps", [])
        )
        assert texts == "".join(texts_of(wanted))
        return
    nothing = {"text": "", "reasoning": "", "tools": []}
    expected = recorded_messages(cassette)
    messages = output_messages(attributes)
    assert (messages or [nothing] * len(expected)) == (expected or [nothing] * len(messages))


@pytest.mark.cassettes(choose=with_content)
def test_recorded_content_is_on_the_span(cassette: Cassette, replay: Any, content_spans: InMemorySpanExporter) -> None:
    """Texts, reasoning and function calls of every recording are on the span, in the form of the conventions."""
    if call_sync(cassette, replay.url).error is None:
        check_answer(cassette, flushed_attributes(content_spans))


@pytest.mark.cassettes(choose=few_of_each_surface)
async def test_recorded_content_of_async_client_is_on_the_span(
    cassette: Cassette,
    replay: Any,
    content_spans: InMemorySpanExporter,
) -> None:
    """The asynchronous client records the same content."""
    if (await call_async(cassette, replay.url)).error is None:
        check_answer(cassette, flushed_attributes(content_spans))


@pytest.mark.cassettes(choose=with_bodies)
def test_every_text_of_a_request_is_read(cassette: Cassette) -> None:
    """Every text of a recorded request is in the messages, in the form of the conventions."""
    body = cassette["request"]["body"]
    wire_format = FORMATS[cassette["surface"]]
    assert wire_format.content is not None
    content = describe_content(wire_format.content.request(body), [], ContentPolicy(span=True, max_bytes=10_000_000))
    for name, value in content.values.items():
        if name.startswith("gen_ai."):
            assert problems(name, value) == []
    wanted = [body["input"]] if isinstance(body.get("input"), str) else texts_of(body)
    recorded = json.dumps(list(content.values.values()), ensure_ascii=False)
    assert wanted
    assert [text for text in wanted if json.dumps(text, ensure_ascii=False)[1:-1] not in recorded] == []
    if (tools := body.get("tools")) is not None:
        declared = [function["name"] for tool in tools for function in tool.get("functionDeclarations", ())]
        defined = [tool["name"] for tool in content.values["gen_ai.tool.definitions"]]
        assert [name for name in declared if name not in defined] == []
