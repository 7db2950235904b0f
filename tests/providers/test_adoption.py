"""Calls under another instrumentation's inference span, and under suppression."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from answers import CHAT, CHAT_CHUNKS, QUESTION, sse
from loopback import Loopback, json_answer, stream_answer
from opentelemetry import context as otel
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, use_span

import llmtrace
from llmtrace._compat.opentelemetry_context import SUPPRESS_KEY
from llmtrace.pricing import catalog, price
from llmtrace.telemetry.joined_span import JoinedSpan

SUPPRESSING = [
    "suppress_instrumentation",
    "suppress_language_model_instrumentation",
    pytest.param(SUPPRESS_KEY, id="key"),  # made anew in each process
]
CHAT_SPAN = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
USAGE = {"gen_ai.usage.input_tokens": 7, "gen_ai.usage.output_tokens": 3}


class Scene:
    """Application with its own tracer provider, in which another instrumentation creates spans."""

    def __init__(self, url: str, **limits: Any) -> None:
        self.spans = InMemorySpanExporter()
        self.reader = InMemoryMetricReader()
        self.provider = TracerProvider(span_limits=SpanLimits(**limits))
        self.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.meters = MeterProvider([self.reader])
        self.tracer = self.provider.get_tracer("framework")
        self.client = openai.OpenAI(base_url=url, api_key="k", max_retries=0)

    def ask(self, **more: Any) -> Any:
        return self.client.chat.completions.create(model="gpt-4o", messages=QUESTION, **more)  # type: ignore[arg-type]

    def reported(self, scope: str = "") -> list[dict[str, Any]]:
        llmtrace.flush()
        return [
            dict(span.attributes or {})
            for span in self.spans.get_finished_spans()
            if span.instrumentation_scope is not None and span.instrumentation_scope.name.startswith(scope)
        ]

    def metrics(self) -> set[str]:
        found = self.reader.get_metrics_data()
        if found is None:
            return set()
        return {each.name for one in found.resource_metrics for part in one.scope_metrics for each in part.metrics}


@pytest.fixture
def scene(loopback: Loopback, request: pytest.FixtureRequest) -> Iterator[Scene]:
    loopback.will(json_answer({**CHAT, "model": "gpt-4o"}))
    scene = Scene(loopback.url, **getattr(request, "param", {}))
    with llmtrace.instrument(tracer_provider=scene.provider, meter_provider=scene.meters, strict=True), scene.client:
        yield scene
    scene.provider.shutdown()
    scene.meters.shutdown()


@contextmanager
def set_key(key: str) -> Iterator[None]:
    token = otel.attach(otel.set_value(key, True))
    try:
        yield
    finally:
        otel.detach(token)


# -- suppression ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", SUPPRESSING)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_suppressed_call_is_collected_and_priced_without_a_span(
    scene: Scene, loopback: Loopback, key: str, streamed: bool
) -> None:
    """Cost, tags and llmtrace metrics are recorded; a span and the shared metrics are not."""
    more: Any = {}
    if streamed:
        more = {"stream": True, "stream_options": {"include_usage": True}}
        loopback.will(stream_answer(sse([{**chunk, "model": "gpt-4o"} for chunk in CHAT_CHUNKS], done=True)))
    with llmtrace.collect() as calls, llmtrace.tag(feature="f"), set_key(key):
        result = scene.ask(**more)
        if streamed:
            list(result)
    llmtrace.flush()
    (call,) = calls
    assert (call.cost is not None, call.feature, call.usage.input) == (True, "f", 7)
    assert scene.reported() == []
    assert {name for name in scene.metrics() if name.startswith("gen_ai.")} == set()
    assert "llmtrace.client.cost" in scene.metrics()
    loopback.will(json_answer({**CHAT, "model": "gpt-4o"}))
    scene.ask()
    assert len(scene.reported()) == 1
    assert "gen_ai.client.token.usage" in scene.metrics()


@pytest.mark.parametrize("key", SUPPRESSING)
def test_suppressed_call_is_refused_by_a_budget(scene: Scene, key: str) -> None:
    """A blocking budget counts suppressed calls and refuses them."""
    llmtrace.budget("suppressed", tokens=15, per="call", action="warn")
    llmtrace.budget(
        "suppressed", tokens=15, per="total", by="feature", match={"feature": f"suppressed {key}"}, action="block"
    )
    with llmtrace.tag(feature=f"suppressed {key}"), set_key(key):
        scene.ask()
        scene.ask()
        with pytest.raises(llmtrace.BudgetExceeded):
            scene.ask()


def test_suppressed_call_belongs_to_the_current_trace(scene: Scene) -> None:
    """Its record has the id of the trace, but no span of its own."""
    with (
        scene.tracer.start_as_current_span("request") as span,
        llmtrace.collect() as calls,
        set_key("suppress_instrumentation"),
    ):
        scene.ask()
    assert calls[0].trace_id == f"{span.get_span_context().trace_id:032x}"
    assert calls[0].span_id == "0" * 16


# -- adoption ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suppressed", [False, True])
def test_first_call_under_an_inference_span_adopts_it(scene: Scene, suppressed: bool) -> None:
    """Cost, tags, prompt and timings go onto the span, which keeps its usage; there is no second span."""
    with (
        llmtrace.tag(feature="f"),
        llmtrace.prompt("p", version="2"),
        llmtrace.collect() as calls,
        scene.tracer.start_as_current_span("chat gpt-4o", attributes=CHAT_SPAN) as span,
    ):
        if suppressed:
            with set_key("suppress_instrumentation"):
                scene.ask()
        else:
            scene.ask()
        span.set_attributes({"gen_ai.usage.input_tokens": 11, "gen_ai.usage.output_tokens": 5})
    (reported,) = scene.reported()
    assert reported["llm.cost.total"] > 0
    assert (reported["llmtrace.feature"], reported["gen_ai.prompt.name"]) == ("f", "p")
    assert (reported["gen_ai.usage.input_tokens"], reported["gen_ai.usage.output_tokens"]) == (11, 5)
    assert calls[0].span_id == f"{span.get_span_context().span_id:016x}"
    assert "gen_ai.client.token.usage" not in scene.metrics()
    assert "llmtrace.client.cost" in scene.metrics()
    assert "end" not in vars(span)


def test_span_that_ends_without_usage_gets_ours(scene: Scene) -> None:
    """Usage that the other instrumentation does not report is added."""
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        scene.ask()
    (reported,) = scene.reported()
    assert {name: reported.get(name) for name in USAGE} == USAGE


def test_later_calls_under_the_same_span_get_child_spans(scene: Scene) -> None:
    """One span represents one call."""
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN) as span:
        scene.ask()
        scene.ask()
    assert len(scene.reported("framework")) == 1
    (own,) = [each for each in scene.spans.get_finished_spans() if each.name == "chat gpt-4o"]
    assert own.parent is not None
    assert own.parent.span_id == span.get_span_context().span_id
    assert (own.attributes or {})["gen_ai.usage.input_tokens"] == 7


def test_threads_under_the_same_span_adopt_it_once(scene: Scene) -> None:
    """Of several concurrent calls, one adopts the span."""
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        threads = [threading.Thread(target=llmtrace.wrap(scene.ask)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(scene.reported("llmtrace")) == 7


def test_refused_call_leaves_the_span_to_its_retry(scene: Scene, loopback: Loopback) -> None:
    """A call that the provider rejected used nothing, so the next call adopts the span."""
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        loopback.will(json_answer({"error": {"message": "busy"}}, status=503))
        with pytest.raises(openai.APIStatusError):
            scene.ask()
        loopback.will(json_answer({**CHAT, "model": "gpt-4o"}))
        scene.ask()
    (reported,) = scene.reported()
    assert reported["llm.cost.total"] > 0
    assert "llmtrace.cost.unpriced_reason" not in reported
    assert reported["gen_ai.usage.input_tokens"] == 7


@pytest.mark.parametrize(
    "attributes",
    [
        {"openinference.span.kind": "CHAIN"},
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "embeddings"},
        {"http.request.method": "POST"},
        None,
    ],
    ids=str,
)
def test_span_of_another_operation_is_not_adopted(scene: Scene, attributes: Any) -> None:
    """An agent, an HTTP request or another inference is a parent, and the call has its own span."""
    with scene.tracer.start_as_current_span("other", attributes=attributes):
        scene.ask()
    assert len(scene.reported("llmtrace")) == 1
    assert "llm.cost.total" not in scene.reported("framework")[0]


@pytest.mark.parametrize("kind", [llmtrace.agent, llmtrace.workflow, llmtrace.tool])
def test_our_own_spans_are_not_adopted(scene: Scene, kind: Any) -> None:
    """A span of an llmtrace block is a parent, whatever its attributes are."""
    with kind("a"):
        scene.ask()
    assert len(scene.reported("llmtrace.openai")) == 1


def test_openinference_span_is_adopted(scene: Scene) -> None:
    """OpenInference uses its own names for the kind of a span and for the usage."""
    attributes: Any = {"openinference.span.kind": "LLM", "llm.token_count.prompt": 7}
    with scene.tracer.start_as_current_span("ChatCompletion", attributes=attributes):
        scene.ask()
    (reported,) = scene.reported()
    assert reported["llm.cost.total"] > 0
    assert "gen_ai.usage.input_tokens" not in reported


@pytest.mark.parametrize("name", ["chat gpt-4o", "chat", "chat gpt-4", "POST gpt-4o"])
@pytest.mark.parametrize("kind", [SpanKind.CLIENT, SpanKind.INTERNAL])
def test_span_with_the_name_of_the_call_is_adopted(scene: Scene, name: str, kind: SpanKind) -> None:
    """OpenLIT sets the attributes of its span after the call, so that only its name and kind identify it."""
    with scene.tracer.start_as_current_span(name, kind=kind) as span:
        scene.ask()
        span.set_attributes({**CHAT_SPAN, **USAGE})
    adopted = name == "chat gpt-4o" and kind is SpanKind.CLIENT
    assert len(scene.reported()) == (1 if adopted else 2)
    assert ("llm.cost.total" in scene.reported("framework")[0]) == adopted


@pytest.mark.parametrize("scene", [{"max_span_attributes": 8}], indirect=True)
def test_full_span_keeps_its_attributes(scene: Scene) -> None:
    """The SDK drops the oldest attributes at the limit, so only the remaining number is added."""
    with scene.tracer.start_as_current_span("chat", attributes={**CHAT_SPAN, **USAGE}):
        scene.ask()
    (span,) = scene.spans.get_finished_spans()
    assert (span.attributes or {}).items() >= {**CHAT_SPAN, **USAGE, "gen_ai.operation.name": "chat"}.items()
    assert (span.attributes or {})["llm.cost.total"] > 0
    assert len(span.attributes or {}) == 8


def test_stream_read_after_the_span_ended_gets_its_own_span(scene: Scene, loopback: Loopback) -> None:
    """A span that ended before the stream cannot be completed, so nothing of the call is lost."""
    loopback.will(stream_answer(sse([{**chunk, "model": "gpt-4o"} for chunk in CHAT_CHUNKS], done=True)))
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        stream = scene.ask(stream=True, stream_options={"include_usage": True})
    list(stream)
    (own,) = scene.reported("llmtrace")
    assert own["gen_ai.usage.input_tokens"] == 7
    assert own["llm.cost.total"] > 0


@pytest.mark.parametrize(("read", "spans"), [(4, 1), (3, 2)], ids=["after the counts", "before the counts"])
def test_span_that_ends_with_the_last_counts_of_a_stream_has_its_cost(
    scene: Scene, loopback: Loopback, read: int, spans: int
) -> None:
    """OpenTelemetry's packages end their span at the last event, before the stream ends. Counts to come are awaited."""
    chunks = [{**chunk, "model": "gpt-4o"} for chunk in CHAT_CHUNKS]
    loopback.will(stream_answer(sse(chunks, done=True)))
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        stream = scene.ask(stream=True, stream_options={"include_usage": True})
        for _ in range(read):
            next(stream)
    assert len(list(stream)) == len(chunks) - read
    reported = scene.reported()
    assert len(reported) == spans
    (priced,) = [each for each in reported if "llm.cost.total" in each]
    assert (priced["gen_ai.usage.input_tokens"], priced["llmtrace.stream.end"]) == (7, "exhausted")


def test_first_call_of_a_process_is_priced_on_the_adopted_span(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cost is on the exported span, even if it ends before the prices are loaded."""
    ended, caller, loading = threading.Event(), threading.current_thread(), []

    def current() -> catalog.Catalog:
        loading.append(threading.current_thread())
        assert ended.wait(20)
        return catalog.current()

    monkeypatch.setattr(price, "loaded", lambda: None)
    monkeypatch.setattr(price, "current", current)
    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN) as span:
        scene.ask()
        span.set_attributes(USAGE)
    ended.set()
    (reported,) = scene.reported()
    assert reported["llm.cost.total"] > 0
    assert caller not in loading


class Slotted:
    """Span that accepts no additional Python attributes."""

    __slots__ = ("attributes",)

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def is_recording(self) -> bool:
        return True

    def set_attributes(self, attributes: dict[str, Any]) -> None:
        self.attributes.update(attributes)

    def end(self) -> None: ...


def test_span_that_its_owner_never_ends_ends_with_its_call(scene: Scene) -> None:
    """A framework may drop its span with a stream that is left early; the span is exported once it is collected."""
    span = scene.tracer.start_span("chat", attributes=CHAT_SPAN)
    with use_span(span):
        scene.ask()
    del span
    gc.collect()
    (reported,) = scene.reported()
    assert reported.items() >= USAGE.items()
    assert "llm.cost.total" in reported


def test_span_without_observable_end_is_completed_at_once() -> None:
    """Spans of other implementations get each value as soon as it is available."""
    span = Slotted()
    joined = JoinedSpan(span)
    joined.prepare(lambda known: {"known": len(known)}, late=False)
    assert span.attributes == {"known": 0}


@pytest.mark.faulty
def test_fault_at_the_end_of_an_adopted_span_does_not_reach_its_owner(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The span of the other instrumentation ends normally."""
    from llmtrace import _errors

    monkeypatch.setattr(_errors, "_strict", False)

    def boom(*_: Any) -> Any:
        raise RuntimeError("ours")

    with scene.tracer.start_as_current_span("chat", attributes=CHAT_SPAN):
        scene.ask()
        monkeypatch.setattr(JoinedSpan, "_complete", boom)
    assert len(scene.reported()) == 1
