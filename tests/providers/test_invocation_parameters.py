"""Request parameters reach Phoenix as the caller sent them."""

from __future__ import annotations

import json

import openai
import pytest
from answers import CHAT, QUESTION
from loopback import Loopback, json_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace


def test_invocation_parameters_are_as_sent(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """Each parameter has the vendor's name, those in ``extra_body`` too."""
    loopback.will(json_answer(CHAT))
    with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
        client.chat.completions.create(
            model="m",
            messages=QUESTION,  # type: ignore[arg-type]
            max_tokens=5,
            tool_choice="none",
            logprobs=True,
            extra_body={"provider": {"sort": "price"}},
        )
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    sent = {"max_tokens": 5, "tool_choice": "none", "logprobs": True, "provider": {"sort": "price"}}
    assert json.loads(str(reported["llm.invocation_parameters"])) == sent
    assert reported["llmtrace.request.parameters"] == reported["llm.invocation_parameters"]
    assert reported["gen_ai.request.max_tokens"] == 5


def test_invocation_parameters_are_absent_without_the_bridge(
    loopback: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Phoenix's bridge writes them, and only if parameters were sent."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setenv("LLMTRACE_BRIDGES", "none")
    loopback.will(json_answer(CHAT))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    try:
        with openai.OpenAI(base_url=loopback.url, api_key="x", max_retries=0) as client:
            client.chat.completions.create(model="m", messages=QUESTION, seed=1)  # type: ignore[arg-type]
            client.chat.completions.create(model="m", messages=QUESTION)  # type: ignore[arg-type]
    finally:
        llmtrace.uninstrument()
    with_seed, without = (dict(span.attributes or {}) for span in exporter.get_finished_spans())
    assert with_seed["llmtrace.request.parameters"] == '{"seed":1}'
    assert "llm.invocation_parameters" not in with_seed
    assert "llmtrace.request.parameters" not in without
