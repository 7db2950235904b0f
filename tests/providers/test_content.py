"""Every recorded exchange, with content on, says on its span what the recording says was said."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from test_recorded import Cassette, all_of_both, call_async, call_sync, one_of_each_kind, request_of

import llmtrace
from shapes import problems

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")

CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
)


@pytest.fixture
def heard() -> Any:
    """Finished spans of calls made with content on, uncut."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, content_max_bytes=10_000_000)
    yield exporter
    llmtrace.uninstrument()
    provider.shutdown()


def attributes_of(exporter: InMemorySpanExporter) -> dict[str, Any]:
    llmtrace.flush()
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {})


def check_shapes(attributes: dict[str, Any]) -> None:
    for name in CONTENT:
        if name in attributes:
            assert problems(name, json.loads(attributes[name])) == []


def parsed(arguments: Any) -> Any:
    try:
        return json.loads(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments


def said(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    """The answers in the words of the recordings."""
    found = []
    for message in json.loads(attributes.get("gen_ai.output.messages", "[]")):
        texts: dict[str, str] = {"text": "", "reasoning": ""}
        for part in message["parts"]:
            if part["type"] in texts:
                texts[part["type"]] += part["content"]
        calls = [part for part in message["parts"] if part["type"] == "tool_call"]
        tools = [{"id": call.get("id"), "name": call["name"], "arguments": call["arguments"]} for call in calls]
        found.append({**texts, "tools": tools})
    return found


def recorded(cassette: Cassette) -> list[dict[str, Any]]:
    found = []
    for output in cassette["expected"].get("outputs") or []:
        tools = [
            {"id": call["id"], "name": call["name"], "arguments": parsed(call["arguments"])}
            for call in output.get("tool_calls") or []
        ]
        # A refusal is what the model said, as the convention has no part of its own for it.
        text = (output.get("text") or "") + (output.get("refusal") or "")
        found.append({"text": text, "reasoning": output.get("reasoning") or "", "tools": tools})
    return found


def check_said(cassette: Cassette, attributes: dict[str, Any], failed: bool) -> None:
    check_shapes(attributes)
    if failed:
        return
    wanted, told = recorded(cassette), said(attributes)
    if "reasoning_text" in (cassette["response"].get("body") or ""):
        # The recordings count a summary as reasoning, not the full text that some servers send.
        wanted = [{**output, "reasoning": None} for output in wanted]
        told = [{**output, "reasoning": None} for output in told]
    nothing = {"text": "", "reasoning": "", "tools": []}
    assert (told or [nothing] * len(wanted)) == wanted
    body = cassette["request"]["body"] or {}
    if body.get("messages") or body.get("input"):
        names = {"gen_ai.input.messages", "embedding.embeddings.0.embedding.text"}
        told_something = not names.isdisjoint(attributes)
        assert told_something or all(isinstance(item, (int, list)) for item in body.get("input", [1]))


def refused(cassette: Cassette) -> bool:
    """Whether the model declined, or a filter stopped question or answer."""
    expected = cassette["expected"]
    reasons = {*(expected.get("finish_reasons") or ()), expected.get("incomplete_reason")}
    declined = any(output.get("refusal") for output in expected.get("outputs") or [])
    stopped = "content_filter" in cassette["features"] and cassette["response"]["status"] >= 400
    return declined or stopped or not reasons.isdisjoint({"refusal", "content_filter"})


def some_refused(cassettes: list[Cassette]) -> list[Cassette]:
    return [cassette for cassette in all_of_both(cassettes) if refused(cassette)]


@pytest.mark.cassettes(choose=some_refused)
def test_a_refusal_is_told_with_content_off(cassette: Cassette, replay: Any, spans: InMemorySpanExporter) -> None:
    """That an answer was declined or filtered is no content: it is always on the span."""
    call_sync(request_of(cassette, replay.url), raw=False)
    assert attributes_of(spans)["llmtrace.refusal"] is True


@pytest.mark.cassettes(choose=all_of_both)
def test_span_says_what_was_said(cassette: Cassette, replay: Any, heard: InMemorySpanExporter) -> None:
    """Texts, reasoning, refusals and tool calls of every recording are on the span, in the convention's form."""
    seen = call_sync(request_of(cassette, replay.url), raw=False)
    attributes = attributes_of(heard)
    check_said(cassette, attributes, failed=seen.error is not None)
    assert attributes.get("llmtrace.refusal", False) is refused(cassette)


@pytest.mark.cassettes(choose=one_of_each_kind)
async def test_async_span_says_what_was_said(cassette: Cassette, replay: Any, heard: InMemorySpanExporter) -> None:
    """The same through the asynchronous clients."""
    seen = await call_async(request_of(cassette, replay.url), raw=False)
    check_said(cassette, attributes_of(heard), failed=seen.error is not None)


@pytest.mark.cassettes(choose=one_of_each_kind)
def test_raw_span_says_what_was_said(cassette: Cassette, replay: Any, heard: InMemorySpanExporter) -> None:
    """The same where the caller reads the raw response."""
    seen = call_sync(request_of(cassette, replay.url), raw=True)
    check_said(cassette, attributes_of(heard), failed=seen.error is not None)
