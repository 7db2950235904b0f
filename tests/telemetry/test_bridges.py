"""Attributes that each bridge adds, computed from the attributes of a span."""

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
from llmtrace.telemetry.names import operation_key

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


def test_openinference_adds_the_names_that_phoenix_needs() -> None:
    """OpenInference gets kind, priced model, reasoning count, values, prompt and metadata, but no messages."""
    added = bridge_attributes(CHAT, ["openinference"])
    assert json.loads(added.pop("metadata")) == {
        "plan": "gold",
        "feature": "search",
        "prompt_name": "ask",
        "prompt_version": "2",
    }
    assert added == {
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


def test_langfuse_counts_are_disjoint() -> None:
    """Each token is in one count only, since Langfuse sums them up."""
    added = bridge_attributes(CHAT, ["langfuse"], started=1_700_000_000_000_000_000)
    assert json.loads(added["langfuse.observation.usage_details"]) == {
        "input": 500,
        "input_cached_tokens": 400,
        "input_cache_creation": 100,
        "output": 150,
        "output_reasoning_tokens": 50,
        "total": 1200,
    }
    assert json.loads(added["langfuse.observation.cost_details"]) == {"input": 0.0015, "total": 0.004}
    assert added["langfuse.observation.completion_start_time"] == "2023-11-14T22:13:20.250000Z"
    assert added["langfuse.trace.metadata.plan"] == "gold"
    assert added["langfuse.trace.tags"] == ("a", "b")


def test_logfire_gets_the_cost_if_there_is_one() -> None:
    """Logfire gets the cost under its own name; an unpriced span gets nothing."""
    assert bridge_attributes(CHAT, ["logfire"]) == {"operation.cost": 0.004}
    assert bridge_attributes({"gen_ai.operation.name": "chat"}, ["logfire"]) == {}


@pytest.mark.parametrize(
    ("operation", "kind", "langfuse_type"),
    [
        ("rerank", "RERANKER", "retriever"),
        ("moderation", "GUARDRAIL", "guardrail"),
        ("count_tokens", "LLM", "span"),
        ("create_cache", "CHAIN", "span"),
        ("invoke_workflow", "CHAIN", "chain"),
        ("retrieval", "RETRIEVER", "retriever"),
        ("execute_tool", "TOOL", None),
        ("embeddings", "EMBEDDING", None),
    ],
)
def test_operation_is_mapped_to_kinds_of_backends(operation: str, kind: str, langfuse_type: str | None) -> None:
    """Each operation gets a span kind of Phoenix, and a type of Langfuse unless Langfuse derives it itself."""
    added = bridge_attributes({operation_key(operation): operation}, ["openinference", "langfuse"])
    assert added["openinference.span.kind"] == kind
    assert added.get("langfuse.observation.type") == langfuse_type


def test_spans_without_operation_get_no_attributes() -> None:
    """A span that is not an operation of the GenAI conventions gets nothing."""
    assert bridge_attributes({"http.request.method": "GET"}, ["openinference", "langfuse", "logfire"]) == {}


def test_existing_attributes_are_kept_and_metadata_completed() -> None:
    """Attributes that the application set stay; its metadata get additional keys."""
    attributes = {**CHAT, "llm.model_name": "mine", "metadata": '{"feature":"own","x":1}'}
    added = bridge_attributes(attributes, ["openinference"])
    assert "llm.model_name" not in added
    assert json.loads(added["metadata"]) == {"feature": "own", "x": 1, "prompt_name": "ask", "prompt_version": "2"}


@pytest.mark.parametrize("encoded", ["{", "7", '["x"]', '[{"parts":[7]}]', '[{"parts":null}]'])
def test_invalid_messages_raise_no_error(encoded: str) -> None:
    """Messages that are not valid JSON, or not messages, raise nothing."""
    broken = {**CHAT, "gen_ai.input.messages": encoded, "gen_ai.retrieval.documents": encoded}
    assert bridge_attributes(broken, ["openinference"])["openinference.span.kind"] == "LLM"
    bridge_attributes({**broken, "gen_ai.operation.name": "retrieval"}, ["openinference"])


def test_many_documents_do_not_displace_important_attributes() -> None:
    """As many of 200 documents are written as fit; no other attribute is dropped."""
    documents = [{"id": f"d{number}", "content": "x", "score": 0.5, "metadata": {"a": 1}} for number in range(200)]
    search = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(documents)}
    added = within({**search, **bridge_attributes(search, ["openinference"])}, 128)
    assert len(added) == 128
    assert added["openinference.span.kind"] == "RETRIEVER"
    assert added["retrieval.documents.0.document.metadata"] == '{"a":1}'


def test_translate_returns_new_spans_with_a_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translated spans are copies with a project name; the original spans stay unchanged."""
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


def test_langfuse_reads_environment_and_release_from_tags_or_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tags of these names are used, else the variables of Langfuse's SDK."""
    monkeypatch.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    monkeypatch.setenv("LANGFUSE_RELEASE", "v1")
    added = bridge_attributes({**CHAT, "llmtrace.tag.release": "v2"}, ["langfuse"])
    assert (added["langfuse.environment"], added["langfuse.release"]) == ("staging", "v2")
    monkeypatch.delenv("LANGFUSE_TRACING_ENVIRONMENT")
    assert "langfuse.environment" not in bridge_attributes(CHAT, ["langfuse"])


def test_langfuse_bridge_is_selected_by_its_url() -> None:
    """A destination with the path of Langfuse gets its bridge without configuration."""
    address = "https://cloud.langfuse.com/api/public/otel/v1/traces"
    assert bridges_for(["openinference"], address) == ("openinference", "langfuse")
    assert bridges_for(["openinference"], "http://localhost:4318/v1/traces") == ("openinference",)
