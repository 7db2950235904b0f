"""A span never loses what matters to what does not."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

pytestmark = pytest.mark.filterwarnings("ignore:The model '.*' is deprecated:DeprecationWarning")


def traced(replay: Any, *, limits: SpanLimits | None = None, calls: Any) -> dict[str, Any]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True):
        calls()
        llmtrace.flush()
    span = next(span for span in exporter.get_finished_spans() if span.name.startswith("chat"))
    assert span.dropped_attributes == 0
    return dict(span.attributes or {})


def ask(replay: Any, messages: list[Any], tools: list[Any] | None = None) -> None:
    """Whatever the answer is: what was asked is on the span."""
    with openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client, suppress(openai.APIError):
        client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools or openai.NOT_GIVEN)


def test_two_hundred_messages_and_twenty_tools(replay: Any) -> None:
    """A long history with many tools, tags and documents: no attribute is evicted, and each is valid JSON."""
    messages = [{"role": "user" if n % 2 else "assistant", "content": f"{n} " + "word " * 400} for n in range(200)]
    schema = {"type": "object", "properties": {f"p{n}": {"type": "string", "description": "d" * 50} for n in range(40)}}
    tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": schema}} for n in range(20)]

    def calls() -> None:
        with llmtrace.tag(feature="f", **{f"key_{n}": n for n in range(60)}), llmtrace.retrieval("docs") as search:
            search.add([llmtrace.Document(f"d{n}", 0.5, "text", {"n": n}) for n in range(60)])
            ask(replay, messages, tools)

    attributes = traced(replay, calls=calls)
    assert len(attributes) <= 128
    assert len(json.loads(attributes["gen_ai.input.messages"])) == 200
    assert len(json.loads(attributes["gen_ai.tool.definitions"])) == 20
    for name in ("gen_ai.operation.name", "gen_ai.request.model", "llmtrace.outcome", "openinference.span.kind"):
        assert name in attributes
    assert len(attributes["gen_ai.input.messages"].encode()) <= 65536


def test_a_limit_of_the_sdk_leaves_json_whole(replay: Any) -> None:
    """Where the SDK would cut long values, ours are cut inside before."""
    limits = SpanLimits(max_span_attribute_length=900)
    attributes = traced(replay, limits=limits, calls=lambda: ask(replay, [{"role": "user", "content": "long " * 1000}]))
    (message,) = json.loads(attributes["gen_ai.input.messages"])
    assert message["parts"][0]["content"].startswith("long ")


def test_a_block_decides_for_itself(replay: Any) -> None:
    """A block says that what is said inside is not written."""

    def calls() -> None:
        with llmtrace.tag(capture_content=False):
            ask(replay, [{"role": "user", "content": "secret"}])

    assert "secret" not in str(traced(replay, calls=calls))
