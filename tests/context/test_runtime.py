"""Tags and calls under a runtime context that keeps only spans, as Datadog's tracer does."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.context import state
from llmtrace.context.runtime import PrivateContext, with_own_keys

QUESTION: Any = [{"role": "user", "content": "hi"}]
ONE_FAILURE = {"x-fault": "status=529;retry-after=0.001;times=1", "x-fault-key": "private-context"}


class SpansAlone:
    """Keeps the span of a context and nothing else, and goes back to none."""

    def __init__(self) -> None:
        self._span: ContextVar[Any] = ContextVar("span", default=None)

    def attach(self, context: Context) -> object:
        span = trace.get_current_span(context)
        if span is not trace.INVALID_SPAN:
            self._span.set(span)
        return object()

    def get_current(self) -> Context:
        span = self._span.get()
        return Context() if span is None else trace.set_span_in_context(span, Context())

    def detach(self, token: object) -> None:
        pass


@pytest.fixture
def spans_alone(monkeypatch: pytest.MonkeyPatch) -> SpansAlone:
    """The runtime context of the process for the time of a test."""
    runtime = SpansAlone()
    private = with_own_keys(runtime, state._KEYS)
    monkeypatch.setattr(otel, "_RUNTIME_CONTEXT", runtime)
    for name, value in (("_runtime", private), ("current", private.get_current), ("attach", private.attach)):
        monkeypatch.setattr(state, name, value)
    return runtime


def test_private_context_is_used_only_where_keys_are_lost() -> None:
    """OpenTelemetry's own runtime context is used directly."""
    assert with_own_keys(otel._RUNTIME_CONTEXT, ()) is otel._RUNTIME_CONTEXT
    assert "llmtrace-probe" not in otel.get_current()
    assert isinstance(with_own_keys(SpansAlone(), ()), PrivateContext)


@pytest.mark.faulty
def test_broken_runtime_context_is_used_directly() -> None:
    """The import of the package does not fail."""
    assert with_own_keys(broken := object(), ()) is broken  # type: ignore[arg-type]


@pytest.mark.usefixtures("spans_alone")
def test_calls_under_a_foreign_runtime_have_tags_and_parents(replay: Any) -> None:
    """Calls have their tags and retries in one span each, and the application's span is current again at once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("app")
    with (
        llmtrace.instrument(tracer_provider=provider, strict=True),
        openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x") as chat,
        anthropic.Anthropic(base_url=replay.url, api_key="x") as claude,
    ):
        with (
            tracer.start_as_current_span("outer") as outer,
            llmtrace.tag(feature="search"),
            llmtrace.collect() as calls,
        ):
            stream = chat.chat.completions.create(model="gpt-5", messages=QUESTION, stream=True)
            assert trace.get_current_span() is outer
            list(stream)
            claude.messages.create(model="claude-x", max_tokens=9, messages=QUESTION, extra_headers=ONE_FAILURE)
        assert state.call_context_of(state.current()).feature is None
        calls = [span for span in exporter.get_finished_spans() if span.name != "outer"]
    assert len(calls) == 2
    assert [span.name for span in calls] == ["chat gpt-5", "chat claude-x"]
    for span in calls:
        assert span.parent == outer.get_span_context()
        assert span.attributes is not None
        assert span.attributes["llmtrace.feature"] == "search"
    assert calls[1].attributes is not None
    assert calls[1].attributes["llmtrace.retry.count"] == 1


@pytest.mark.usefixtures("spans_alone")
def test_calls_of_a_redactor_are_not_traced(replay: Any) -> None:
    """Such a call would be redacted too, in an endless recursion."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    texts: list[str] = []

    def ask(text: str) -> str:
        texts.append(text)
        if len(texts) < 9:
            chat.chat.completions.create(model="gpt-5", messages=QUESTION)
        return "***"

    with (
        llmtrace.instrument(tracer_provider=provider, strict=True, capture_content=True, redact=ask),
        openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x") as chat,
    ):
        chat.chat.completions.create(model="gpt-5", messages=QUESTION)
    assert texts and len(exporter.get_finished_spans()) == 1
