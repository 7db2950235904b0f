"""The conformance checks themselves: a correct signal has no finding, and each planted fault is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from conformance.checks import Finding, check_event, check_metrics, check_span

USER = {"role": "user", "parts": [{"type": "text", "content": "Why?"}]}
ANSWER = {"role": "assistant", "parts": [{"type": "generic", "generic_type": "poem"}], "finish_reason": "stop"}
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m",
    "gen_ai.request.temperature": 1.0,
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 10,
    "gen_ai.usage.output_tokens": 5,
    "gen_ai.usage.cache_write.input_tokens": 3,
    "gen_ai.usage.cache_creation.input_tokens": 3,
    "gen_ai.usage.cost": 0.5,
    "llm.cost.total": 0.5,
    "gen_ai.input.messages": json.dumps([USER]),
    "gen_ai.output.messages": json.dumps([ANSWER]),
    "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": "f", "parameters": {"type": "object"}}]),
    "gen_ai.system_instructions": json.dumps([{"type": "text", "content": "Be brief."}]),
    "server.address": "api.example",
    "server.port": 443,
    "llmtrace.outcome": "ok",
}


def make_span(
    changes: dict[str, Any],
    name: str = "chat m",
    kind: SpanKind = SpanKind.CLIENT,
    status: StatusCode = StatusCode.UNSET,
    base: dict[str, Any] = CHAT,
) -> ReadableSpan:
    """Return a finished span; ``None`` removes an attribute of ``base``."""
    attributes = {key: value for key, value in {**base, **changes}.items() if value is not None}
    span: Any = TracerProvider().get_tracer("llmtrace.test").start_span(name, kind=kind, attributes=attributes)
    if status is not StatusCode.UNSET:
        span.set_status(status)
    span.end()
    return span._readable_span()


def kinds_of(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(finding.check, finding.subject) for finding in findings}


def test_correct_span_has_no_finding() -> None:
    """Intended deviations are no findings either."""
    assert check_span(make_span({}), expected=["gen_ai.request.model"]) == []


MESSAGE_FAULTS: list[tuple[str, Any]] = [
    ("gen_ai.input.messages", [{"parts": []}]),
    ("gen_ai.input.messages", [{"role": "user", "parts": [{"type": "novel"}]}]),
    ("gen_ai.input.messages", [{"role": "user", "parts": [{"type": "text"}]}]),
    ("gen_ai.output.messages", [{**ANSWER, "parts": [{"type": "tool_call", "id": "1"}]}]),
    ("gen_ai.output.messages", {"role": "assistant"}),
    ("gen_ai.system_instructions", [{"type": "reasoning", "content": "x"}]),
    ("gen_ai.tool.definitions", [{"type": "function", "name": "f", "parameters": {"type": 7}}]),
    ("gen_ai.tool.definitions", [{"type": "function"}]),
]


@pytest.mark.parametrize(("name", "value"), MESSAGE_FAULTS)
def test_content_off_the_schema_is_found(name: str, value: Any) -> None:
    """Each of the schemas rejects what it must."""
    assert ("schema", name) in kinds_of(check_span(make_span({name: json.dumps(value)})))


def test_documents_and_arguments_off_the_schema_are_found() -> None:
    """Documents are a list of objects with text ids, arguments and results are objects."""
    base = {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": '[{"id":7}]'}
    search = make_span({}, "retrieval", SpanKind.INTERNAL, base=base)
    assert kinds_of(check_span(search)) == {("schema", "gen_ai.retrieval.documents")}
    base = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "t", "gen_ai.tool.call.result": "[1]"}
    assert kinds_of(check_span(make_span({}, "execute_tool t", SpanKind.INTERNAL, base=base))) == {
        ("schema", "gen_ai.tool.call.result")
    }


FAULTS: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = [
    ({}, {"name": "chat"}, ("name", "name")),
    ({}, {"kind": SpanKind.SERVER}, ("kind", "kind")),
    ({}, {"status": StatusCode.OK}, ("status", "status")),
    ({}, {"status": StatusCode.ERROR}, ("status", "error.type")),
    ({"error.type": "500"}, {}, ("status", "error.type")),
    ({"gen_ai.operation.name": "talk"}, {}, ("enum", "gen_ai.operation.name")),
    ({"gen_ai.operation.name": None}, {}, ("required", "gen_ai.operation.name")),
    ({"llmtrace.operation.name": "rerank"}, {}, ("required", "gen_ai.operation.name")),
    ({"gen_ai.operation.name": None, "llmtrace.operation.name": "chat"}, {}, ("enum", "llmtrace.operation.name")),
    ({"gen_ai.provider.name": None}, {}, ("required", "gen_ai.provider.name")),
    ({"server.port": None}, {}, ("required", "server.port")),
    ({"gen_ai.request.temperature": 1}, {}, ("type", "gen_ai.request.temperature")),
    ({"gen_ai.usage.input_tokens": 10.0}, {}, ("type", "gen_ai.usage.input_tokens")),
    ({"gen_ai.response.finish_reasons": "stop"}, {}, ("type", "gen_ai.response.finish_reasons")),
    ({"gen_ai.output.type": "poem"}, {}, ("enum", "gen_ai.output.type")),
    ({"gen_ai.system": "openai"}, {}, ("undeclared", "gen_ai.system")),
    ({"gen_ai.tool.name": "t"}, {}, ("undeclared", "gen_ai.tool.name")),
    ({"gen_ai.prompt.name": "p", "gen_ai.operation.name": "plan"}, {}, ("undeclared", "gen_ai.prompt.name")),
    ({"gen_ai.usage.cache_creation.input_tokens": None}, {}, ("phoenix", "gen_ai.usage.cache_creation.input_tokens")),
    ({"gen_ai.usage.cache_creation.input_tokens": None}, {}, ("mlflow", "gen_ai.usage.cache_creation.input_tokens")),
    ({"openinference.span.kind": "llm"}, {}, ("phoenix", "openinference.span.kind")),
    ({"gen_ai.output.messages": json.dumps([USER])}, {}, ("phoenix", "gen_ai.output.messages")),
    (
        {"gen_ai.input.messages": json.dumps([{"role": "tool", "parts": [{"type": "tool_call_response"}] * 2}])},
        {},
        ("phoenix", "gen_ai.input.messages"),
    ),
    ({"langfuse.observation.cost_details": '{"total":0.4}'}, {}, ("langfuse", "langfuse.observation.cost_details")),
    (
        {"langfuse.observation.usage_details": '{"input":10,"output":5,"total":14}'},
        {},
        ("langfuse", "langfuse.observation.usage_details"),
    ),
    (
        {"llmtrace.feature": "f", "langfuse.trace.name": None, "metadata": None, "gen_ai.provider.name": None},
        {},
        ("datadog", "gen_ai.provider.name"),
    ),
]


@pytest.mark.parametrize(("changes", "span", "expected"), FAULTS)
def test_planted_fault_of_a_span_is_found(
    changes: dict[str, Any], span: dict[str, Any], expected: tuple[str, str]
) -> None:
    """One fault of every kind of check gives the finding of that check."""
    assert expected in kinds_of(check_span(make_span(changes, **span)))


def test_known_value_that_is_missing_is_found() -> None:
    """An attribute whose value the caller of the check knows must be there."""
    assert kinds_of(check_span(make_span({}), expected=["gen_ai.response.id"])) == {("missing", "gen_ai.response.id")}


def test_fault_of_an_event_is_found() -> None:
    """An evaluation without a name is found."""
    span: Any = TracerProvider().get_tracer("llmtrace.test").start_span("chat m", kind=SpanKind.CLIENT, attributes=CHAT)
    span.add_event("gen_ai.evaluation.result", {"gen_ai.evaluation.score.value": 1})
    span.end()
    assert kinds_of(check_span(span._readable_span())) == {
        ("required", "gen_ai.evaluation.name"),
        ("type", "gen_ai.evaluation.score.value"),
    }


@pytest.mark.parametrize(
    ("name", "attributes", "expected"),
    [
        ("gen_ai.client.talk", {}, ("event", "gen_ai.client.talk")),
        ("gen_ai.evaluation.result", {}, ("required", "gen_ai.evaluation.name")),
        ("gen_ai.client.operation.exception", {"gen_ai.tool.name": "t"}, ("undeclared", "gen_ai.tool.name")),
        (
            "gen_ai.client.inference.operation.details",
            {**CHAT, "gen_ai.input.messages": [{"parts": []}]},
            ("schema", "gen_ai.input.messages"),
        ),
    ],
)
def test_planted_fault_of_a_log_record_is_found(
    name: str, attributes: dict[str, Any], expected: tuple[str, str]
) -> None:
    """One fault of every kind of check gives the finding of that check; structured content follows the schemas."""
    assert kinds_of(check_event(name, attributes)) == {expected}


def test_correct_log_record_has_no_finding() -> None:
    """Content may be structured in the logs, and other events are not of the conventions."""
    structured = {**CHAT, "gen_ai.input.messages": (USER,), "gen_ai.output.messages": (ANSWER,)}
    assert check_event("gen_ai.client.inference.operation.details", structured) == []
    assert check_event("exception", {"gen_ai.tool.name": "t"}) == []


DIMENSIONS = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai"}
METRIC_FAULTS: list[tuple[Callable[[Any], None], tuple[str, str]]] = [
    (
        lambda meter: meter.create_histogram("gen_ai.client.talk", "s").record(1.0, DIMENSIONS),
        ("metric", "gen_ai.client.talk"),
    ),
    (
        lambda meter: meter.create_histogram("gen_ai.client.inference.duration", "ms").record(1.0, DIMENSIONS),
        ("metric", "gen_ai.client.inference.duration"),
    ),
    (
        lambda meter: meter.create_counter("gen_ai.client.inference.duration", "s").add(1.0, DIMENSIONS),
        ("metric", "gen_ai.client.inference.duration"),
    ),
    (
        lambda meter: meter.create_histogram("gen_ai.client.inference.duration", "s").record(
            1.0, {**DIMENSIONS, "gen_ai.operation.name": "embeddings"}
        ),
        ("operation", "gen_ai.client.inference.duration"),
    ),
    (
        lambda meter: meter.create_counter("gen_ai.client.inference.usage.input_tokens", "{token}").add(1, DIMENSIONS),
        ("required", "gen_ai.token.modality"),
    ),
    (
        lambda meter: meter.create_counter("gen_ai.client.inference.usage.input_tokens", "{token}").add(
            1, {**DIMENSIONS, "gen_ai.token.modality": "smell"}
        ),
        ("enum", "gen_ai.token.modality"),
    ),
    (
        lambda meter: meter.create_histogram("gen_ai.client.inference.duration", "s").record(
            1.0, {**DIMENSIONS, "gen_ai.response.id": "r"}
        ),
        ("undeclared", "gen_ai.response.id"),
    ),
]


@pytest.mark.parametrize(("record", "expected"), METRIC_FAULTS)
def test_planted_fault_of_a_metric_is_found(record: Callable[[Any], None], expected: tuple[str, str]) -> None:
    """One fault of every kind of check gives the finding of that check."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    record(meters.get_meter("test"))
    assert kinds_of(check_metrics(reader.get_metrics_data())) == {expected}
    meters.shutdown()
