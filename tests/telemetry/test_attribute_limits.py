"""With a low limit of attributes the most important stay, on every kind of span and on log records."""

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
    with serving(LocalVendor()) as made:
        yield made


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    yield InMemorySpanExporter()
    llmtrace.uninstrument()


def ask(vendor: LocalVendor, **more: Any) -> None:
    with openai.OpenAI(api_key="k", base_url=vendor.url, max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "x"}], **more)


def provider_into(exporter: InMemorySpanExporter, **options: Any) -> TracerProvider:
    provider = TracerProvider(**options)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def attributes(exporter: InMemorySpanExporter) -> dict[str, Any]:
    (span,) = exporter.get_finished_spans()
    return dict(span.attributes or {})


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("limit", [8, 16, 32, 64])
@pytest.mark.parametrize("way", ["argument", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"])
def test_call_keeps_its_essentials_within_a_low_limit(
    way: str, limit: int, content: bool, vendor: LocalVendor, exporter: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Operation, provider, model, tokens and cost stay, whatever else a tagged call with content has to say."""
    options: dict[str, Any] = {}
    if way == "argument":
        options["span_limits"] = SpanLimits(max_span_attributes=limit)
    else:
        monkeypatch.setenv(way, str(limit))
    provider = provider_into(exporter, **options)
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=content, bridges="openinference")
    with llmtrace.tag(**TAGS, **{f"key{number}": number for number in range(30)}):
        ask(vendor, temperature=0.5, top_p=1, seed=1)
    found = attributes(exporter)
    assert len(found) == limit
    assert ESSENTIAL.items() <= found.items()
    if limit >= 16:
        assert found["llmtrace.outcome"] == "ok"
        assert found["llmtrace.feature"] == "search"
    if limit >= 32:
        assert {"user.id", "session.id", "llmtrace.tenant", "llmtrace.cost.exact"} <= found.keys()


def test_failed_call_keeps_its_error_within_a_low_limit(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """The type of an error is as important as a cost."""
    provider = provider_into(exporter, span_limits=SpanLimits(max_span_attributes=8))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    with llmtrace.tag(**TAGS), pytest.raises(openai.APIConnectionError):
        ask(LocalVendorThatIsGone(vendor))  # type: ignore[arg-type]
    found = attributes(exporter)
    assert len(found) == 8
    assert found["error.type"] == "openai.APIConnectionError"
    assert found["gen_ai.request.model"] == "gpt-4o"


class LocalVendorThatIsGone:
    def __init__(self, vendor: LocalVendor) -> None:
        self.url = "http://127.0.0.1:1/v1"


class Stamp(SpanProcessor):
    """An application's own processor."""

    def __init__(self, count: int) -> None:
        self._count = count

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        span.set_attributes({f"app.{number}": number for number in range(self._count)})


@pytest.mark.parametrize(("count", "kept"), [(4, 4), (15, 12)])
def test_attributes_of_the_application_stay_while_there_is_room(
    count: int, kept: int, vendor: LocalVendor, exporter: InMemorySpanExporter
) -> None:
    """What a processor adds is given up only where the essentials would not fit."""
    provider = TracerProvider(span_limits=SpanLimits(max_span_attributes=20))
    provider.add_span_processor(Stamp(count))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    with llmtrace.tag(**TAGS):
        ask(vendor)
    found = attributes(exporter)
    assert sum(name.startswith("app.") for name in found) == kept
    assert ESSENTIAL.items() <= found.items()


@pytest.mark.parametrize(
    ("block", "essential"),
    [
        (lambda: llmtrace.tool("lookup", arguments={"q": "x"}), ("gen_ai.operation.name", "gen_ai.tool.name")),
        (lambda: llmtrace.agent("planner"), ("gen_ai.operation.name", "gen_ai.agent.name")),
        (lambda: llmtrace.workflow("nightly"), ("gen_ai.operation.name", "gen_ai.workflow.name")),
        (lambda: llmtrace.retrieval("docs", query="x", top_k=9), ("gen_ai.operation.name", "gen_ai.data_source.id")),
        (lambda: llmtrace.rerank("ranker", query="x"), ("gen_ai.operation.name", "gen_ai.request.model")),
    ],
)
def test_blocks_keep_their_names_within_a_low_limit(block: Any, essential: Any, exporter: InMemorySpanExporter) -> None:
    """Tools, agents, workflows, searches and rerankings say what they are, however much they found."""
    provider = provider_into(exporter, span_limits=SpanLimits(max_span_attributes=8))
    llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, bridges="openinference")
    documents = [llmtrace.Document(str(number), 0.5, "text", {"a": 1}) for number in range(16)]
    with llmtrace.tag(**TAGS, one=1, two=2), block() as made:
        if hasattr(made, "add"):
            made.add(documents)
    found = attributes(exporter)
    assert len(found) <= 8
    assert set(essential) <= found.keys()


def test_adopted_span_keeps_what_its_owner_wrote_and_writes(
    vendor: LocalVendor, exporter: InMemorySpanExporter
) -> None:
    """What we add to another instrumentation's span drops nothing of its own, before or after."""
    provider = provider_into(exporter, span_limits=SpanLimits(max_span_attributes=32))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    theirs = {"gen_ai.operation.name": "chat", **{f"theirs.{number}": number for number in range(11)}}
    with provider.get_tracer("other").start_as_current_span("chat", attributes=theirs) as span:
        token = context.attach(
            context.set_value("opentelemetry.genai.client.inference.context", object(), trace.set_span_in_context(span))
        )
        with llmtrace.tag(**TAGS, **{f"key{number}": number for number in range(30)}):
            ask(vendor)
        context.detach(token)
        later = {f"later.{number}": number for number in range(8)}
        span.set_attributes(later)
    found = attributes(exporter)
    assert theirs.items() | later.items() <= found.items()
    assert found["llm.cost.total"] == 0.0035
    assert len(found) == 32


def test_log_record_keeps_the_essentials_within_its_limit(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """The event of a call drops the least important attributes too."""
    logs = InMemoryLogRecordExporter()
    try:
        loggers = LoggerProvider(log_record_limits=LogRecordLimits(max_log_record_attributes=8))
    except TypeError:
        pytest.skip("this release of the SDK takes the limits of log records from the environment alone")
    loggers.add_log_record_processor(SimpleLogRecordProcessor(logs))
    llmtrace.instrument(
        tracer_provider=provider_into(exporter), logger_provider=loggers, strict=True, capture_content="event_only"
    )
    with llmtrace.tag(**TAGS):
        ask(vendor)
    (record,) = logs.get_finished_logs()
    found = dict(record.log_record.attributes or {})
    assert len(found) == 8
    assert ESSENTIAL.items() <= found.items()


def test_order_of_a_log_record_drops_the_least_important_first() -> None:
    """An SDK that drops the oldest drops what matters least."""
    found = by_importance({names.OPERATION: "chat", "llmtrace.tag.x": 1, "other": 2, names.COST_TOTAL: 3})
    assert list(found) == ["llmtrace.tag.x", "other", names.COST_TOTAL, names.OPERATION]


def test_bridges_stay_within_the_limit_of_the_span(vendor: LocalVendor, exporter: InMemorySpanExporter) -> None:
    """What a destination's bridge adds on the way out does not push a span over the limit it was made with."""
    provider = provider_into(exporter, span_limits=SpanLimits(max_span_attributes=16))
    llmtrace.instrument(tracer_provider=provider, strict=True, bridges="none")
    with llmtrace.tag(**TAGS):
        ask(vendor)
    (span,) = translate(exporter.get_finished_spans(), ("openinference", "langfuse"))
    assert len(span.attributes or {}) == 16
    assert ESSENTIAL.items() <= dict(span.attributes or {}).items()


def test_within_keeps_the_order_in_which_attributes_were_written() -> None:
    """What stays stays where it was; what is of one rank goes from the end."""
    given: dict[str, Any] = {"b": 1, "llmtrace.tag.x": 2, names.OUTCOME: 3, "a": 4, names.OPERATION: 5}
    assert list(within(given, 3)) == ["b", names.OUTCOME, names.OPERATION]
    assert within(given, 5) is given
    assert within(given, 0) == within(given, -1) == {}
