"""OpenAI batches and evaluations: billed once, when they are seen to have ended."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from helpers import resolve
from loopback import Loopback, json_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.pricing.price import Pricer
from stainless_clients import make_client

USAGE = {
    "input_tokens": 100_000,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 2_000,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": 102_000,
}
BATCH = {"id": "batch_1", "object": "batch", "endpoint": "/v1/chat/completions", "model": "gpt-4o-2024-08-06"}


@pytest.fixture(autouse=True)
def _on_openais_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Price calls as if the loopback server were OpenAI's: on an unknown host the cost is approximate."""
    price = Pricer.price
    monkeypatch.setattr(
        Pricer, "price", lambda self, provider, _, *more, **kw: price(self, provider, "api.openai.com", *more, **kw)
    )


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("status", ["completed", "cancelled", "expired"])
async def test_batch_is_billed_once_at_half_price(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str, status: str
) -> None:
    """Polls before and after the first fetch that sees the end have no usage and no cost."""
    client: Any = make_client("openai", colour, loopback.url)
    loopback.will(
        json_answer({**BATCH, "status": "in_progress"}),
        json_answer({**BATCH, "status": status, "usage": USAGE}),
    )
    for _ in range(3):
        await resolve(client.batches.retrieve("batch_1"))
    await resolve(client.close())
    found = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert [each["gen_ai.operation.name"] for each in found] == ["fetch_response"] * 3
    assert [each.get("gen_ai.usage.input_tokens") for each in found] == [None, 100_000, None]
    expected = (100_000 * Decimal("2.5") + 2_000 * Decimal(10)) / 2 / 1_000_000
    assert [each.get("llmtrace.cost.exact") for each in found] == [None, f"{expected.normalize():f}", None]
    assert not any("llmtrace.cost.approximate" in each for each in found)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_run_of_an_evaluation_is_billed_once_for_all_its_models(
    loopback: Loopback, spans: InMemorySpanExporter, colour: str
) -> None:
    """The model under test and the grader have prices of their own. The cost is approximate."""
    client: Any = make_client("openai", colour, loopback.url)
    if not hasattr(client, "evals"):
        pytest.skip("this release has none")
    used = [
        {"model_name": "gpt-4o-2024-08-06", "prompt_tokens": 1000, "completion_tokens": 100, "cached_tokens": 400},
        {"model_name": "gpt-4o-mini", "prompt_tokens": 2000, "completion_tokens": 50, "cached_tokens": 0},
    ]
    used = [{**usage, "total_tokens": usage["prompt_tokens"] + usage["completion_tokens"]} for usage in used]
    run = {"id": "evalrun_1", "object": "eval.run", "eval_id": "eval_1", "model": "gpt-4o-2024-08-06", "error": None}
    loopback.will(
        json_answer({**run, "status": "in_progress", "per_model_usage": []}),
        json_answer({**run, "status": "completed", "per_model_usage": used}),
    )
    for _ in range(3):
        await resolve(client.evals.runs.retrieve("evalrun_1", eval_id="eval_1"))
    await resolve(client.close())
    found = [dict(span.attributes or {}) for span in spans.get_finished_spans()]
    assert [each["gen_ai.response.status"] for each in found] == ["in_progress", "completed", "completed"]
    large = 600 * Decimal("2.5") + 400 * Decimal("1.25") + 100 * Decimal(10)
    small = 2000 * Decimal("0.15") + 50 * Decimal("0.6")
    expected = f"{((large + small) / 1_000_000).normalize():f}"
    assert [each.get("llmtrace.cost.exact") for each in found] == [None, expected, None]
    assert found[1]["llmtrace.cost.approximate"] is True
    assert found[1]["gen_ai.response.model"] == "gpt-4o-2024-08-06"
