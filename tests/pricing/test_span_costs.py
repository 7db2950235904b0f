"""Costs on the spans of real clients, compared with arithmetic on the reported usage."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

MILLION = Decimal(1_000_000)


def cost_of(spans: InMemorySpanExporter) -> Decimal:
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert "llmtrace.cost.unpriced_reason" not in reported
    exact = Decimal(str(reported["llmtrace.cost.exact"]))
    assert reported["llm.cost.total"] == reported["gen_ai.usage.cost"] == pytest.approx(float(exact))
    return exact


def test_google_model_with_prefix_is_priced_without_it(replay: Any, spans: InMemorySpanExporter) -> None:
    """``models/...`` is the model without its prefix: 8 in and 9 out at 0.10 and 0.40 USD per million."""
    client = genai.Client(api_key="x", http_options=genai.types.HttpOptions(base_url=replay.url))
    config: Any = {"response_modalities": ["TEXT"]}
    client.models.generate_content(
        model="models/gemini-2.5-flash-lite", contents="What is the capital of Mexico?", config=config
    )
    if hasattr(client, "close"):
        client.close()
    assert cost_of(spans) == (8 * Decimal("0.10") + 9 * Decimal("0.40")) / MILLION


def test_openai_stream_with_usage_is_priced(replay: Any, spans: InMemorySpanExporter) -> None:
    """A stream that reports usage has its cost: 13 in and 11 out of gpt-4o-mini or a similar model."""
    cassette = {"x-cassette-id": "openai-chat-completions-stream-plain-daaac4"}
    with openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x", default_headers=cassette) as client:
        list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=True
            )
        )
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    parts = [
        value
        for name, value in reported.items()
        if name.startswith(("llm.cost.prompt_details", "llm.cost.completion_details"))
    ]
    assert cost_of(spans) > 0
    assert reported["llm.cost.total"] == pytest.approx(sum(parts))


def test_cut_stream_has_no_cost(replay: Any, spans: InMemorySpanExporter) -> None:
    """The cost of a cut stream is unknown: the span has a separate estimate and the reason."""
    cassette = {"x-cassette-id": "anthropic-messages-stream-plain-e496f7"}
    with anthropic.Anthropic(base_url=replay.url, api_key="x", default_headers=cassette) as client:
        stream = client.messages.create(
            model="claude-3-haiku-20240307", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        next(iter(stream))
        stream.close()
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert reported["llmtrace.usage.source"] == "partial"
    assert reported["llmtrace.cost.unpriced_reason"] == "partial_usage"
    assert "llm.cost.total" not in reported
    assert isinstance(reported["llmtrace.cost.estimated_usd"], float)
