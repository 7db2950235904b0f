"""Spans of calls and operations: limits, hidden content and the content mode of a block."""

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


def call_model(replay: Any, messages: list[Any], tools: list[Any] | None = None) -> None:
    """Call a model and ignore API errors: the tests read the request from the span."""
    with openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client, suppress(openai.APIError):
        client.chat.completions.create(model="gpt-4o", messages=messages, tools=tools or openai.NOT_GIVEN)


def test_long_history_with_many_tools_keeps_all_attributes(replay: Any) -> None:
    """With many messages, tools, tags and documents no attribute is dropped, and each JSON is valid."""
    messages = [{"role": "user" if n % 2 else "assistant", "content": f"{n} " + "word " * 400} for n in range(200)]
    schema = {"type": "object", "properties": {f"p{n}": {"type": "string", "description": "d" * 50} for n in range(40)}}
    tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": schema}} for n in range(20)]

    def calls() -> None:
        with llmtrace.tag(feature="f", **{f"key_{n}": n for n in range(60)}), llmtrace.retrieval("docs") as search:
            search.add([llmtrace.Document(f"d{n}", 0.5, "text", {"n": n}) for n in range(60)])
            call_model(replay, messages, tools)

    attributes = traced(replay, calls=calls)
    assert len(attributes) <= 128
    assert len(json.loads(attributes["gen_ai.input.messages"])) == 200
    assert len(json.loads(attributes["gen_ai.tool.definitions"])) == 20
    for name in ("gen_ai.operation.name", "gen_ai.request.model", "llmtrace.outcome", "openinference.span.kind"):
        assert name in attributes
    assert len(attributes["gen_ai.input.messages"].encode()) <= 65536


def test_attribute_length_limit_of_the_sdk_leaves_valid_json(replay: Any) -> None:
    """Content is truncated to the length limit of the SDK before the SDK can cut the JSON."""
    limits = SpanLimits(max_span_attribute_length=900)
    attributes = traced(
        replay, limits=limits, calls=lambda: call_model(replay, [{"role": "user", "content": "long " * 1000}])
    )
    (message,) = json.loads(attributes["gen_ai.input.messages"])
    assert message["parts"][0]["content"].startswith("long ")


def test_hide_variable_removes_invocation_parameters(replay: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenInference's variable removes the parameters of the request."""

    def calls() -> None:
        with openai.OpenAI(base_url=replay.url, api_key="k") as client:
            client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hi"}], temperature=0.2, stop=["secret"]
            )

    assert traced(replay, calls=calls)["gen_ai.request.temperature"] == 0.2
    monkeypatch.setenv("OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS", "true")
    attributes = traced(replay, calls=calls)
    assert "gen_ai.request.temperature" not in attributes
    assert "secret" not in str(attributes)


def test_parameters_have_the_types_of_the_convention(replay: Any) -> None:
    """Whatever number the caller typed, sampling parameters are doubles and counts are integers."""

    def calls() -> None:
        with openai.OpenAI(base_url=replay.url, api_key="k", max_retries=0) as client, suppress(openai.APIError):
            client.chat.completions.create(
                model="gpt-4o", messages=[], temperature=1, top_p=1, presence_penalty=0, frequency_penalty=10**400,
                seed=7.0, max_tokens=9.5, n="two",  # type: ignore[call-overload]
            )  # fmt: skip

    attributes = traced(replay, calls=calls)
    parameters = {name: value for name, value in attributes.items() if name.startswith("gen_ai.request.")}
    assert parameters.pop("gen_ai.request.model") == "gpt-4o"
    assert {name: (type(value), value) for name, value in parameters.items()} == {
        "gen_ai.request.temperature": (float, 1.0),
        "gen_ai.request.top_p": (float, 1.0),
        "gen_ai.request.presence_penalty": (float, 0.0),
        "gen_ai.request.seed": (int, 7),
    }


def run_operations(**settings: Any) -> dict[str, dict[str, Any]]:
    """Run an agent with a workflow, a tool and a retrieval; return the attributes of their spans by name."""

    @llmtrace.agent("guide")
    def guide(question: str) -> str:
        return pipeline(question, depth=2)["answer"]

    @llmtrace.workflow("pipeline")
    def pipeline(question: str, depth: int) -> dict[str, str]:
        with llmtrace.retrieval("docs", query=question) as search:
            search.add([llmtrace.Document("d", 0.5, "document of jane@example.com")])
        return {"answer": look(question)}

    @llmtrace.tool("look")
    def look(city: str) -> str:
        return "answer for jane@example.com"

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with llmtrace.instrument(tracer_provider=provider, strict=True, **settings):
        guide("question of jane@example.com")
        llmtrace.flush()
    return {span.name.split(" ")[-1]: dict(span.attributes or {}) for span in exporter.get_finished_spans()}


def test_agent_and_workflow_spans_have_input_and_output() -> None:
    """Input and output are recorded as messages and as OpenInference's values, redacted."""
    spans = run_operations(capture_content=True, redact="builtin")
    guide, pipeline = spans["guide"], spans["pipeline"]
    assert json.loads(guide["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "question of [EMAIL]"}]}
    ]
    assert json.loads(guide["gen_ai.output.messages"]) == [
        {
            "role": "assistant",
            "parts": [{"type": "text", "content": "answer for [EMAIL]"}],
            "finish_reason": "stop",
        }
    ]
    assert (guide["input.value"], guide["output.value"]) == ("question of [EMAIL]", "answer for [EMAIL]")
    assert json.loads(pipeline["input.value"]) == {"question": "question of [EMAIL]", "depth": 2}
    assert json.loads(pipeline["output.value"]) == {"answer": "answer for [EMAIL]"}
    assert json.loads(spans["look"]["input.value"]) == {"city": "question of [EMAIL]"}
    assert "jane" not in str(spans)
    assert "answer" not in str(run_operations())


def test_hide_variables_apply_to_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenInference's variables hide inputs and outputs of agents, workflows, tools and retrievals."""
    monkeypatch.setenv("OPENINFERENCE_HIDE_INPUTS", "true")
    recorded = str(run_operations(capture_content=True))
    assert "question of" not in recorded
    assert "answer for" in recorded
    monkeypatch.delenv("OPENINFERENCE_HIDE_INPUTS")
    monkeypatch.setenv("OPENINFERENCE_HIDE_OUTPUTS", "true")
    recorded = str(run_operations(capture_content=True))
    assert "question of" in recorded
    assert "answer for" not in recorded
    assert "document of" not in recorded


def test_block_can_turn_content_off(replay: Any) -> None:
    """Content of calls in a block with ``capture_content=False`` is not recorded."""

    def calls() -> None:
        with llmtrace.tag(capture_content=False):
            call_model(replay, [{"role": "user", "content": "secret"}])

    assert "secret" not in str(traced(replay, calls=calls))
