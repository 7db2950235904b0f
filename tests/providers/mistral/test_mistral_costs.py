"""mistralai: the cost on the span, against arithmetic on the response's counts and the price list's own rows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from answers import CHAT_CHUNKS, sse
from helpers import listed_rates
from loopback import Loopback, json_answer, stream_answer
from mistral_calls import COLOURS, METHODS, Side, only, read
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.pricing.price import Pricer

LARGE, EMBED = "mistral-large-2512", "mistral-embed"
USAGE = {"prompt_tokens": 1234, "completion_tokens": 567, "total_tokens": 1801}
CACHED = {"prompt_tokens_details": {"cached_tokens": 1000}}


@pytest.fixture(autouse=True)
def _on_mistrals_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Price calls as if the loopback server were Mistral's: on an unknown host the cost is approximate."""
    price = Pricer.price
    monkeypatch.setattr(
        Pricer, "price", lambda self, provider, _, *more, **kw: price(self, provider, "api.mistral.ai", *more, **kw)
    )


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("more", [{}, CACHED, {"num_cached_tokens": 1000}, {"service_tier": "standard"}], ids=str)
async def test_chat_costs_its_tokens(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, stream: bool, more: dict[str, Any]
) -> None:
    """Fresh, cached and output tokens cost what the price list says, to the last digit."""
    ends = {**CHAT_CHUNKS[2], "usage": {**USAGE, **more}}
    events = [{**chunk, "model": LARGE} for chunk in (*CHAT_CHUNKS[:2], ends)]
    body = {**METHODS["chat"].body, "model": LARGE, "usage": {**USAGE, **more}}
    loopback.will(stream_answer(sse(events, done=True)) if stream else json_answer(body))
    await read(await side.ask(stream=stream, model=LARGE))
    found, rate = await only(spans), listed_rates("mistral", LARGE)
    cached = 1000 if "cached" in str(more) else 0
    expected = (1234 - cached) * rate["input_mtok"] + cached * rate["cache_read_mtok"] + 567 * rate["output_mtok"]
    assert Decimal(found["llmtrace.cost.exact"]) == expected
    assert found["llm.cost.total"] == float(expected)
    assert "llmtrace.cost.approximate" not in found


@COLOURS
async def test_embeddings_cost_their_input(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """Embeddings have no output, and cost their input."""
    counts = {"prompt_tokens": 1234, "completion_tokens": 0, "total_tokens": 1234}
    loopback.will(json_answer({**METHODS["embeddings"].body, "model": EMBED, "usage": counts}))
    await side.ask("embeddings", model=EMBED)
    found = await only(spans)
    assert Decimal(found["llmtrace.cost.exact"]) == 1234 * listed_rates("mistral", EMBED)["input_mtok"]
    assert "llmtrace.cost.approximate" not in found


PRIORITY: dict[str, Any] = {"model": "mistral-*", "input": "1", "output": "2", "when": {"service_tier": "priority"}}


@COLOURS
@pytest.mark.parametrize("prices", [None, [PRIORITY]], ids=["listed", "own"])
async def test_priority_tier_is_approximate_without_a_price(
    loopback: Loopback, side: Side, prices: list[dict[str, Any]] | None
) -> None:
    """The price list has no row for Mistral's priority tier: the cost is exact with a price of one's own only."""
    body = {**METHODS["chat"].body, "model": LARGE, "usage": {**USAGE, "service_tier": "priority"}}
    loopback.will(json_answer(body))
    with llmtrace.instrument(tracer_provider=TracerProvider(), prices=prices), llmtrace.collect() as calls:
        await side.ask(model=LARGE)
    (call,) = calls
    assert call.cost is not None
    assert call.cost.approximate is (prices is None)
    if prices:
        assert call.cost.total == (1234 * 1 + 567 * 2) / Decimal(1_000_000)
