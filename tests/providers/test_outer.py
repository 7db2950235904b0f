"""Calls for which another instrumentation has a span: there is no second span."""

from __future__ import annotations

import threading
from typing import Any

import openai
import pytest
from opentelemetry import context as otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.pricing import catalog, price

QUESTION: Any = [{"role": "user", "content": "hi"}]


def call(url: str, **more: Any) -> None:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        result: Any = client.chat.completions.create(model="gpt-5", messages=QUESTION, **more)
        if more.get("stream"):
            list(result)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_outer_inference_span_is_enriched(replay: Any, spans: InMemorySpanExporter, stream: bool) -> None:
    """An inference span of another instrumentation gets timings and cost, and keeps its own usage."""
    theirs = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    with provider.get_tracer("framework").start_as_current_span("chat gpt-5", attributes={"theirs": True}) as outer:
        token = otel.attach(otel.set_value("opentelemetry.genai.client.inference.context", object()))
        try:
            call(replay.url, stream=stream)
        finally:
            otel.detach(token)
        outer.set_attribute("gen_ai.usage.input_tokens", 11)
    provider.shutdown()
    assert not spans.get_finished_spans()
    (span,) = theirs.get_finished_spans()
    reported = dict(span.attributes or {})
    assert reported["theirs"] is True
    assert ("llmtrace.stream.end" in reported) is stream
    assert reported["gen_ai.usage.input_tokens"] == 11
    assert "gen_ai.usage.reasoning.output_tokens" not in reported
    assert span.status.status_code is trace.StatusCode.UNSET
    assert len(span.events) == 0


@pytest.mark.parametrize(
    "key",
    [
        "suppress_instrumentation",
        "suppress_language_model_instrumentation",
        pytest.param(otel._SUPPRESS_INSTRUMENTATION_KEY, id="key"),  # made anew in each process
    ],
)
def test_suppressed_call_has_no_span(replay: Any, spans: InMemorySpanExporter, key: str) -> None:
    """A call that is made while instrumentation is suppressed has no span of ours."""
    token = otel.attach(otel.set_value(key, True))
    try:
        call(replay.url)
    finally:
        otel.detach(token)
    assert not spans.get_finished_spans()
    call(replay.url)
    assert len(spans.get_finished_spans()) == 1


def test_prices_are_loaded_in_another_thread(
    replay: Any, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first call of a process does not wait for prices, and the adopted span gets its cost."""
    caller, ended, loading = threading.current_thread(), threading.Event(), []

    def current() -> catalog.Catalog:
        loading.append(threading.current_thread())
        if loading[-1] is not caller:
            assert ended.wait(20)
        return catalog.current()

    monkeypatch.setattr(price, "loaded", lambda: None)
    monkeypatch.setattr(price, "current", current)
    theirs = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(theirs))
    with provider.get_tracer("framework").start_as_current_span("chat gpt-5"):
        token = otel.attach(otel.set_value("opentelemetry.genai.client.inference.context", object()))
        try:
            call(replay.url)
        finally:
            otel.detach(token)
            ended.set()
        llmtrace.flush()
    provider.shutdown()
    assert loading and caller not in loading
    (span,) = theirs.get_finished_spans()
    assert "llm.cost.total" in (span.attributes or {})
