"""Selection of the most important attributes if a limit is low, on every kind of span and on log records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from local_vendor import LocalVendor
from opentelemetry import context, trace
from opentelemetry.sdk._logs import LoggerProvider, LogRecordLimits
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.export.bridging import translate
from llmtrace.telemetry import names
from llmtrace.telemetry.importance import by_importance, within
from serving import serving

ESSENTIAL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
    "llm.cost.total": 0.0035,
}
TAGS: Any = {"feature": "search", "user": "ada", "session": "s", "tenant": "t", "tags": ("a", "b")}


@pytest.fixture(scope="module")
def vendor() -> Iterator[LocalVendor]:
    with serving(LocalVendor()) as server:
        yield server


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    yield InMemorySpanExporter()
    llmtrace.uninstrument()


def call_model(vendor: LocalVendor, **more: Any) -> None:
    with openai.OpenAI(api_key="k", base_url=vendor.url, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}], **more)


def make_provider(exporter: InMemorySpanExporter, **options: Any) -> TracerProvider:
    provider = TracerProvider(**options)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def attributes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {})


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("limit", [8, 16, 32, 64])
@pytest.mark.parametrize("limit_source", ["argument", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
def test_call_span_with_low_limit_keeps_essential_attributes(
    limit_source: str, limit: int, content: bool, vendor: LocalVendor, exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Operation, provider, model, tokens and cost stay on the span of a tagged call with content."""
    options: dict[str, Any] = {}
    if limit_source == "argument":
        options["span_limits"] = SpanLimits(max_span_attributes=limit)
    else:
        monkeypatch.setenv(limit_source, str(limit))
    provider = make_provider(exporter, **options)
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=content, bridges="openinference")
    with llmtrace.tag(**TAGS, **{f"key{number}": number for number in range(30)}):
        call_model(vendor, temperature=0.5, top_p=1, seed=1)
    recorded = attributes(exporter)
    assert len(recorded) == limit
    assert ESSENTIAL.items() <= recorded.items()
    if limit >= 16:
        assert recorded["llmtrace.outcome"] == "ok"
        assert recorded["llmtrace.feature"] == "search"
    if limit >= 32:
        assert {"user.id", "session.id", "llmtrace.tenant", "llmtrace.cost.exact"} <= recorded.keys()


def test_failed_call_with_low_limit_keeps_error_type(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """The error type of a failed call stays on its span."""
    provider = make_provider(exporter, span_limits=SpanLimits(max_span_attributes=8))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    with llmtrace.tag(**TAGS), pytest.raises(openai.APIConnectionError):
        call_model(UnreachableVendor(vendor))  # type: ignore[arg-type]
    recorded = attributes(exporter)
    assert len(recorded) == 8
    assert recorded["error.type"] == "openai.APIConnectionError"
    assert recorded["gen_ai.request.model"] == "gpt-4o"


class UnreachableVendor:
    """Vendor whose URL refuses connections."""

    def __init__(self, vendor: LocalVendor) -> None:
        self.url = "http://127.0.0.1:1/v1"


class AddAttributes(SpanProcessor):
    """Span processor of an application that adds attributes to each span."""

    def __init__(self, count: int) -> None:
        self._count = count

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attributes({f"app.{number}": number for number in range(self._count)})


@pytest.mark.parametrize(("count", "kept"), [(4, 4), (15, 12)])
def test_application_attributes_are_kept_while_there_is_room(
    count: int, kept: int, vendor: LocalVendor, exporter: InMemorySpanExporter
) -> None:
    """Attributes of a span processor are dropped only if the essential attributes would not fit."""
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=20))
    provider.add_span_processor(AddAttributes(count))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    with llmtrace.tag(**TAGS):
        call_model(vendor)
    recorded = attributes(exporter)
    assert sum(name.startswith("app.") for name in recorded) == kept
    assert ESSENTIAL.items() <= recorded.items()


@pytest.mark.parametrize(
    ("block", "essential"),
    [
        (lambda: llmtrace.tool("lookup", arguments={"q": "x"}), ("gen_ai.operation.name", "gen_ai.tool.name")),
        (lambda: llmtrace.agent("planner"), ("gen_ai.operation.name", "gen_ai.agent.name")),
        (lambda: llmtrace.workflow("nightly"), ("gen_ai.operation.name", "gen_ai.agent.name", "gen_ai.workflow.name")),
        (lambda: llmtrace.retrieval("docs", query="x", top_k=9), ("gen_ai.operation.name", "gen_ai.data_source.id")),
        (lambda: llmtrace.rerank("ranker", query="x"), ("llmtrace.operation.name", "gen_ai.request.model")),
    ],
)
def test_operation_span_with_low_limit_keeps_its_name(
    block: Any, essential: Any, exporter: InMemorySpanExporter
) -> None:
    """Operation and name stay on the spans of tools, agents, workflows, retrievals and rerankings."""
    provider = make_provider(exporter, span_limits=SpanLimits(max_span_attributes=8))
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, bridges="openinference")
    documents = [llmtrace.Document(str(number), 0.5, "text", {"a": 1}) for number in range(16)]
    with llmtrace.tag(**TAGS, one=1, two=2), block() as operation:
        if hasattr(operation, "add"):
            operation.add(documents)
    recorded = attributes(exporter)
    assert len(recorded) <= 8
    assert set(essential) <= recorded.keys()


def test_joined_span_keeps_all_attributes_of_its_owner(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """Completing the span of another instrumentation drops none of its attributes, earlier or later ones."""
    provider = make_provider(exporter, span_limits=SpanLimits(max_span_attributes=32))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    owner_attributes = {"gen_ai.operation.name": "chat", **{f"theirs.{number}": number for number in range(11)}}
    with provider.get_tracer("other").start_as_current_span("chat", attributes=owner_attributes) as span:
        token = context.attach(
            context.set_value("opentelemetry.genai.client.inference.context", object(), trace.set_span_in_context(span))
        )
        with llmtrace.tag(**TAGS, **{f"key{number}": number for number in range(30)}):
            call_model(vendor)
        context.detach(token)
        later = {f"later.{number}": number for number in range(8)}
        span.set_attributes(later)
    recorded = attributes(exporter)
    assert owner_attributes.items() | later.items() <= recorded.items()
    assert recorded["llm.cost.total"] == 0.0035
    assert len(recorded) == 32


def test_log_record_with_low_limit_keeps_essential_attributes(
    vendor: LocalVendor, exporter: InMemorySpanExporter
) -> None:
    """The event of a call keeps its most important attributes."""
    logs = InMemoryLogRecordExporter()
    try:
        loggers = LoggerProvider(log_record_limits=LogRecordLimits(max_log_record_attributes=8))
    except TypeError:
        pytest.skip("this release of the SDK takes the limits of log records from the environment alone")
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    llmtrace.instrument(
        tracer_provider=make_provider(exporter), logger_provider=loggers, strict=True, capture_content="event_only"
    )
    with llmtrace.tag(**TAGS):
        call_model(vendor)
    (record,) = logs.get_finished_logs()
    recorded = dict(record.log_record.attributes or {})
    assert len(recorded) == 8
    assert ESSENTIAL.items() <= recorded.items()


def test_by_importance_puts_the_least_important_first() -> None:
    """The least important attributes come first, since the SDK drops the oldest."""
    recorded = by_importance({names.OPERATION: "chat", "llmtrace.tag.x": 1, "other": 2, names.COST_TOTAL: 3})
    assert list(recorded) == ["llmtrace.tag.x", "other", names.COST_TOTAL, names.OPERATION]


def test_bridged_span_stays_within_its_limit(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """Attributes of bridges, added at export, do not exceed the limit of the span."""
    provider = make_provider(exporter, span_limits=SpanLimits(max_span_attributes=16))
    llmtrace.instrument(tracer_provider=provider, strict=True, bridges="none")
    with llmtrace.tag(**TAGS):
        call_model(vendor)
    (span,) = translate(exporter.get_finished_spans(), ("openinference", "langfuse"))
    assert len(span.attributes or {}) == 16
    assert ESSENTIAL.items() <= dict(span.attributes or {}).items()


def test_within_keeps_the_order_of_writing() -> None:
    """Attributes that are kept stay in order; of equal ranks the last ones are dropped."""
    attributes_in_order: dict[str, Any] = {"b": 1, "llmtrace.tag.x": 2, names.OUTCOME: 3, "a": 4, names.OPERATION: 5}
    assert list(within(attributes_in_order, 3)) == ["b", names.OUTCOME, names.OPERATION]
    assert within(attributes_in_order, 5) is attributes_in_order
    assert within(attributes_in_order, 0) == within(attributes_in_order, -1) == {}
