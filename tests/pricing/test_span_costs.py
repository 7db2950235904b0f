"""What the spans of real clients say that a call cost, against arithmetic on what the vendor told."""

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
    told = dict(span.attributes or {})
    assert "llmtrace.cost.unpriced_reason" not in told
    exact = Decimal(str(told["llmtrace.cost.exact"]))
    assert told["llm.cost.total"] == told["gen_ai.usage.cost"] == pytest.approx(float(exact))
    return exact


def test_a_google_model_by_its_full_name(replay: Any, spans: InMemorySpanExporter) -> None:
    """``models/...`` is the model without its prefix: 8 in and 9 out at 0.10 and 0.40 USD per million."""
    client = genai.Client(api_key="x", http_options=genai.types.HttpOptions(base_url=replay.url))
    config: Any = {"response_modalities": ["TEXT"]}
    client.models.generate_content(
        model="models/gemini-2.5-flash-lite", contents="What is the capital of Mexico?", config=config
    )
    if hasattr(client, "close"):
        client.close()
    assert cost_of(spans) == (8 * Decimal("0.10") + 9 * Decimal("0.40")) / MILLION


def test_an_openai_stream(replay: Any, spans: InMemorySpanExporter) -> None:
    """A stream that told its usage costs what that usage costs: 13 in and 11 out of gpt-4o-mini or its like."""
    cassette = {"x-cassette-id": "openai-chat-completions-stream-plain-daaac4"}
    with openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x", default_headers=cassette) as client:
        list(
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=True
            )
        )
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    parts = [
        value
        for name, value in told.items()
        if name.startswith(("llm.cost.prompt_details", "llm.cost.completion_details"))
    ]
    assert cost_of(spans) > 0
    assert told["llm.cost.total"] == pytest.approx(sum(parts))


def test_a_cut_stream_has_no_cost(replay: Any, spans: InMemorySpanExporter) -> None:
    """What a stream that was left early cost is not known: a best figure is told apart, and why there is no other."""
    cassette = {"x-cassette-id": "anthropic-messages-stream-plain-e496f7"}
    with anthropic.Anthropic(base_url=replay.url, api_key="x", default_headers=cassette) as client:
        stream = client.messages.create(
            model="claude-3-haiku-20240307", max_tokens=9, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        next(iter(stream))
        stream.close()
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    assert told["llmtrace.usage.source"] == "partial"
    assert told["llmtrace.cost.unpriced_reason"] == "partial_usage"
    assert "llm.cost.total" not in told
    assert isinstance(told["llmtrace.cost.estimated_usd"], float)
