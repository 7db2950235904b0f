"""Every recorded Gemini exchange, with content on, says on its span what the recording says was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_content import attributes_of, check_shapes, heard, recorded, said  # noqa: F401
from test_google_recorded import Cassette, all_of_google, call_async, call_sync, pytestmark  # noqa: F401

from llmtrace.providers.google.embeddings import EMBED
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.telemetry.content import describe_content
from llmtrace.telemetry.content_policy import ContentPolicy
from shapes import problems

FORMATS = {"generate_content": GENERATE, "embed_content": EMBED, "interactions": INTERACTIONS}


def all_that_speak(cassettes: list[Cassette]) -> list[Cassette]:
    return [one for one in all_of_google(cassettes) if one["surface"] in FORMATS]


def with_bodies(cassettes: list[Cassette]) -> list[Cassette]:
    return [one for one in all_that_speak(cassettes) if one["request"]["body"]]


def streamed_and_not(cassettes: list[Cassette]) -> list[Cassette]:
    """A few of each surface, for the asynchronous client."""
    kept: dict[tuple[str, bool], list[Cassette]] = {}
    for one in all_that_speak(cassettes):
        kept.setdefault((one["surface"], one["streaming"]), []).append(one)
    return [one for group in kept.values() for one in group[:3]]


def texts_of(value: Any) -> list[str]:
    """All texts that somebody can read in a recorded request or answer, in order."""
    if isinstance(value, dict):
        own = [value["text"]] if isinstance(value.get("text"), str) and value["text"] else []
        return own + [text for key, item in value.items() if key != "text" for text in texts_of(item)]
    return [text for item in value for text in texts_of(item)] if isinstance(value, list) else []


def check_answer(cassette: Cassette, attributes: dict[str, Any]) -> None:
    check_shapes(attributes)
    if cassette["surface"] == "interactions":
        told = "".join(each["reasoning"] + each["text"] for each in said(attributes))
        body = cassette["response"]["body"]
        events = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        wanted = (
            [event["delta"] for event in events if "delta" in event] if events else json.loads(body).get("steps", [])
        )
        assert told == "".join(texts_of(wanted))
        return
    nothing = {"text": "", "reasoning": "", "tools": []}
    wanted = recorded(cassette)
    told = said(attributes)
    assert (told or [nothing] * len(wanted)) == (wanted or [nothing] * len(told))


@pytest.mark.cassettes(choose=all_that_speak)
def test_span_says_what_was_said(cassette: Cassette, replay: Any, heard: InMemorySpanExporter) -> None:  # noqa: F811
    """Texts, thoughts and function calls of every recording are on the span, in the convention's form."""
    if call_sync(cassette, replay.url).error is None:
        check_answer(cassette, attributes_of(heard))


@pytest.mark.cassettes(choose=streamed_and_not)
async def test_async_span_says_what_was_said(
    cassette: Cassette,
    replay: Any,
    heard: InMemorySpanExporter,  # noqa: F811
) -> None:
    """The same through the asynchronous client."""
    if (await call_async(cassette, replay.url)).error is None:
        check_answer(cassette, attributes_of(heard))


@pytest.mark.cassettes(choose=with_bodies)
def test_every_text_of_a_request_is_read(cassette: Cassette) -> None:
    """What a recorded request says stands in the messages, in the convention's form."""
    body = cassette["request"]["body"]
    wire = FORMATS[cassette["surface"]]
    assert wire.content is not None
    content = describe_content(wire.content.request(body), [], ContentPolicy(span=True, max_bytes=10_000_000))
    for name, value in content.values.items():
        if name.startswith("gen_ai."):
            assert problems(name, value) == []
    wanted = [body["input"]] if isinstance(body.get("input"), str) else texts_of(body)
    told = json.dumps(list(content.values.values()), ensure_ascii=False)
    assert wanted
    assert [text for text in wanted if json.dumps(text, ensure_ascii=False)[1:-1] not in told] == []
    if (tools := body.get("tools")) is not None:
        declared = [function["name"] for tool in tools for function in tool.get("functionDeclarations", ())]
        found = [tool["name"] for tool in content.values["gen_ai.tool.definitions"]]
        assert [name for name in declared if name not in found] == []
