"""What bridges add for one backend each, from nothing but a span's attributes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.export.bridging import bridges_for, translate
from llmtrace.telemetry.bridges import bridge_attributes, within

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "alias",
    "gen_ai.response.model": "gpt-4o-2024-08-06",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 200,
    "gen_ai.usage.cache_read.input_tokens": 400,
    "gen_ai.usage.cache_write.input_tokens": 100,
    "gen_ai.usage.reasoning.output_tokens": 50,
    "gen_ai.input.messages": '[{"role":"user","parts":[{"type":"text","content":"Why?"}]}]',
    "gen_ai.output.messages": '[{"role":"assistant","parts":[{"type":"tool_call","name":"f"}],"finish_reason":"stop"}]',
    "gen_ai.prompt.name": "ask",
    "gen_ai.prompt.version": "2",
    "llmtrace.feature": "search",
    "llmtrace.tag.plan": "gold",
    "metadata": '{"feature":"search","plan":"gold"}',
    "llmtrace.stream.time_to_first_token": 0.25,
    "tag.tags": ("a", "b"),
    "llm.cost.total": 0.004,
    "llm.cost.prompt_details.input": 0.0015,
}


def test_openinference_adds_what_phoenix_lacks() -> None:
    """Kind, priced model, reasoning count, values, prompt and metadata; no second list of messages."""
    found = bridge_attributes(CHAT, ["openinference"])
    assert json.loads(found.pop("metadata")) == {
        "plan": "gold",
        "feature": "search",
        "prompt_name": "ask",
        "prompt_version": "2",
    }
    assert found == {
        "openinference.span.kind": "LLM",
        "llm.model_name": "gpt-4o-2024-08-06",
        "llm.token_count.completion_details.reasoning": 50,
        "input.value": "Why?",
        "input.mime_type": "text/plain",
        "output.value": '[{"type":"tool_call","name":"f"}]',
        "output.mime_type": "application/json",
        "prompt.id": "ask",
        "llm.prompt_template.version": "2",
    }


def test_langfuse_gets_disjoint_counts() -> None:
    """Langfuse adds its counts up: each token is in one of them."""
    found = bridge_attributes(CHAT, ["langfuse"], started=1_700_000_000_000_000_000)
    assert json.loads(found["langfuse.observation.usage_details"]) == {
        "input": 500,
        "input_cached_tokens": 400,
        "input_cache_creation": 100,
        "output": 150,
        "output_reasoning_tokens": 50,
        "total": 1200,
    }
    assert json.loads(found["langfuse.observation.cost_details"]) == {"input": 0.0015, "total": 0.004}
    assert found["langfuse.observation.completion_start_time"] == "2023-11-14T22:13:20.250000Z"
    assert found["langfuse.trace.metadata.plan"] == "gold"
    assert found["langfuse.trace.tags"] == ("a", "b")


def test_logfire_gets_the_cost() -> None:
    """Logfire reads the cost under its own name, and nothing where there is none."""
    assert bridge_attributes(CHAT, ["logfire"]) == {"operation.cost": 0.004}
    assert bridge_attributes({"gen_ai.operation.name": "chat"}, ["logfire"]) == {}


@pytest.mark.parametrize(
    ("operation", "kind"),
    [("rerank", "RERANKER"), ("invoke_workflow", "CHAIN"), ("execute_tool", "TOOL"), ("embeddings", "EMBEDDING")],
)
def test_every_operation_has_a_kind(operation: str, kind: str) -> None:
    """Operations that Phoenix would not know are of a kind it does."""
    assert bridge_attributes({"gen_ai.operation.name": operation}, ["openinference"])["openinference.span.kind"] == kind


def test_other_spans_are_left_alone() -> None:
    """A span that is none of ours gets nothing."""
    assert bridge_attributes({"http.request.method": "GET"}, ["openinference", "langfuse", "logfire"]) == {}


def test_what_is_there_is_not_written_over() -> None:
    """An attribute that the application has set itself stays, and its metadata are completed."""
    mine = {**CHAT, "llm.model_name": "mine", "metadata": '{"feature":"own","x":1}'}
    found = bridge_attributes(mine, ["openinference"])
    assert "llm.model_name" not in found
    assert json.loads(found["metadata"]) == {"feature": "own", "x": 1, "prompt_name": "ask", "prompt_version": "2"}


@pytest.mark.parametrize("given", ["{", "7", '["x"]', '[{"parts":[7]}]', '[{"parts":null}]'])
def test_broken_messages_are_no_fault(given: str) -> None:
    """Messages that somebody else has cut or made up raise nothing."""
    broken = {**CHAT, "gen_ai.input.messages": given, "gen_ai.retrieval.documents": given}
    assert bridge_attributes(broken, ["openinference"])["openinference.span.kind"] == "LLM"
    bridge_attributes({**broken, "gen_ai.operation.name": "retrieval"}, ["openinference"])


def test_the_important_fit_beside_many_documents() -> None:
    """Of two hundred documents as many are told as there is room for, and nothing else is dropped for them."""
    documents = [{"id": f"d{number}", "content": "x", "score": 0.5, "metadata": {"a": 1}} for number in range(200)]
    search = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(documents)}
    found = within({**search, **bridge_attributes(search, ["openinference"])}, 128)
    assert len(found) == 128
    assert found["openinference.span.kind"] == "RETRIEVER"
    assert found["retrieval.documents.0.document.metadata"] == '{"a":1}'


def test_a_destination_gets_new_spans_and_its_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translated spans are new ones: what other destinations get is untouched."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("t").start_as_current_span("chat alias", attributes=CHAT) as span:
        span.add_event("e")
    (plain,) = exporter.get_finished_spans()
    (bridged,) = translate([plain], ["openinference"])
    assert plain.attributes == CHAT
    assert (bridged.attributes or {})["openinference.span.kind"] == "LLM"
    assert bridged.resource.attributes["openinference.project.name"] == "shop"
    assert (bridged.name, bridged.context, bridged.events) == (plain.name, plain.context, plain.events)
    monkeypatch.setenv("PHOENIX_PROJECT_NAME", "other")
    (bridged,) = translate([plain], ["openinference"])
    assert bridged.resource.attributes["openinference.project.name"] == "other"


def test_langfuse_learns_environment_and_release(monkeypatch: pytest.MonkeyPatch) -> None:
    """From tags of these names, else from the variables of Langfuse's own SDK."""
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    monkeypatch.setenv("LANGFUSE_RELEASE", "v1")
    found = bridge_attributes({**CHAT, "llmtrace.tag.release": "v2"}, ["langfuse"])
    assert (found["langfuse.environment"], found["langfuse.release"]) == ("staging", "v2")
    monkeypatch.delenv("LANGFUSE_TRACING_ENVIRONMENT")
    assert "langfuse.environment" not in bridge_attributes(CHAT, ["langfuse"])


def test_langfuse_is_known_by_its_address() -> None:
    """A destination at Langfuse's path gets Langfuse's bridge without being asked for."""
    address = "https://cloud.langfuse.com/api/public/otel/v1/traces"
    assert bridges_for(["openinference"], address) == ("openinference", "langfuse")
    assert bridges_for(["openinference"], "http://localhost:4318/v1/traces") == ("openinference",)
