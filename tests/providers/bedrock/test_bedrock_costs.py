"""Bedrock: the cost on the span, against arithmetic on the response's counts and the price list's own rows."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from bedrock_calls import COLOURS, Side, converse_answer, only, read
from genai_prices.data import providers
from loopback import Loopback, ServerResponse, json_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.model import Request, Response
from llmtrace.pricing.price import Pricer

ONE = pytest.mark.parametrize("colour", ["sync"])
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
ACCOUNT = "arn:aws:bedrock:us-east-1:123456789012"


def rates(row: str) -> dict[str, Decimal]:
    """Return the prices per token of one row that the price list has for AWS."""
    (aws,) = (each for each in providers if each.id == "aws")
    (listed,) = (each for each in aws.models if each.id == row)
    prices = listed.get_prices(datetime.now(UTC))
    return {name: Decimal(price) / 1_000_000 for name, price in vars(prices).items() if price}


CACHED = {
    "inputTokens": 1000,
    "outputTokens": 50,
    "cacheReadInputTokens": 3000,
    "cacheWriteInputTokens": 700,
    "totalTokens": 4750,
}
DETAILS = {"cacheDetails": [{"ttl": "1h", "inputTokens": 200}, {"ttl": "5m", "inputTokens": 500}]}


@COLOURS
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("details", [{}, DETAILS], ids=["total", "lifetimes"])
@pytest.mark.parametrize(
    ("model", "row"),
    [
        (f"us.{SONNET}", f"regional.{SONNET}"),
        (f"eu.{SONNET}", f"regional.{SONNET}"),
        (f"global.{SONNET}", f"global.{SONNET}"),
        (f"{ACCOUNT}:inference-profile/us.{SONNET}", f"regional.{SONNET}"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", f"regional.{SONNET}"),
    ],
)
async def test_converse_costs_its_tokens(
    loopback: Loopback,
    spans: InMemorySpanExporter,
    side: Side,
    model: str,
    row: str,
    details: dict[str, Any],
    stream: bool,
) -> None:
    """Fresh, cached, written and output tokens cost what the price list says, to the last digit."""
    side.needs("TokenUsage", "cacheReadInputTokens", *details)
    loopback.will(converse_answer(stream=stream, usage={**CACHED, **details}))
    await read(await side.converse(stream=stream, modelId=model))
    found, rate = await only(spans), rates(row)
    five_minutes, hour = (500, 200) if details else (700, 0)
    expected = (
        1000 * rate["input_mtok"]
        + 3000 * rate["cache_read_mtok"]
        + five_minutes * rate["cache_write_mtok"]
        + hour * rate["cache_write_1h_mtok"]
        + 50 * rate["output_mtok"]
    )
    assert Decimal(found["llmtrace.cost.exact"]) == expected
    assert found["llmtrace.cost.model"] == row
    assert "llmtrace.cost.approximate" not in found


@ONE
async def test_doubtful_cache_counts_are_approximate(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side
) -> None:
    """A total that fits neither way to count cached tokens makes the cost approximate."""
    side.needs("TokenUsage", "cacheReadInputTokens")
    loopback.will(converse_answer(stream=False, usage={**CACHED, "totalTokens": 9}))
    await side.converse(modelId=f"us.{SONNET}")
    assert (await only(spans))["llmtrace.cost.approximate"] is True


@ONE
@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("application-inference-profile", "unknown_model"),
        ("custom-model-deployment", "unknown_model"),
        ("provisioned-model", "provisioned_capacity"),
        ("imported-model", "provisioned_capacity"),
    ],
)
async def test_opaque_arn_has_no_cost(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, kind: str, reason: str
) -> None:
    """The model behind such an ARN is unknown, or not billed by tokens."""
    loopback.will(converse_answer(stream=False))
    await side.converse(modelId=f"{ACCOUNT}:{kind}/abc123def456")
    found = await only(spans)
    assert found["llmtrace.cost.unpriced_reason"] == reason
    assert not [name for name in found if name.startswith("llm.cost")]


@ONE
@pytest.mark.parametrize(("kind", "priced"), [("application-inference-profile", True), ("provisioned-model", False)])
async def test_model_in_the_body_prices_a_profile_with_doubt(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, kind: str, priced: bool
) -> None:
    """A body of Anthropic names the model behind a profile: the cost is approximate, as its region is unknown."""
    usage = {"input_tokens": 1000, "output_tokens": 10}
    loopback.will(
        json_answer({"type": "message", "model": "claude-sonnet-4-5-20250929", "content": [], "usage": usage})
    )
    await read(await side.invoke({"anthropic_version": "v", "messages": []}, model=f"{ACCOUNT}:{kind}/abc"))
    found = await only(spans)
    assert found.get("llmtrace.cost.approximate") == (True if priced else None)
    assert found.get("llmtrace.cost.unpriced_reason") == (None if priced else "provisioned_capacity")


TIERS = [
    pytest.param("flex", "flex", True, id="flex"),
    pytest.param("priority", None, True, id="unconfirmed"),
    pytest.param("flex", "default", None, id="downgraded"),
    pytest.param("default", "default", None, id="default"),
]


@ONE
@pytest.mark.parametrize("method", ["converse", "invoke"])
@pytest.mark.parametrize(("requested", "served", "approximate"), TIERS)
async def test_service_tier_without_a_price_is_approximate(
    loopback: Loopback,
    spans: InMemorySpanExporter,
    side: Side,
    method: str,
    requested: str,
    served: str | None,
    approximate: bool | None,
) -> None:
    """The price list has no rows for tiers. The tier of the response wins over that of the request."""
    side.needs("ConverseRequest", "serviceTier")
    if method == "converse":
        loopback.will(converse_answer(stream=False, **({"serviceTier": {"type": served}} if served else {})))
        await side.converse(serviceTier={"type": requested})
    else:
        body = b'{"generation": "x", "prompt_token_count": 7, "generation_token_count": 3, "stop_reason": "stop"}'
        loopback.will(ServerResponse([body], headers={"x-amzn-bedrock-service-tier": served} if served else {}))
        await read(await side.invoke({"prompt": "x"}, model="meta.llama3-70b-instruct-v1:0", serviceTier=requested))
    found = await only(spans)
    assert found.get("llmtrace.cost.approximate") is approximate
    assert found["llm.cost.total"] > 0


@ONE
@pytest.mark.parametrize(
    ("more", "reason"), [({"serviceTier": {"type": "reserved"}}, "provisioned_capacity"), ({}, None)], ids=str
)
async def test_reserved_capacity_has_no_cost(
    loopback: Loopback, spans: InMemorySpanExporter, side: Side, more: dict[str, Any], reason: str | None
) -> None:
    """Reserved capacity is billed by time, unless a price of one's own applies."""
    side.needs("ConverseResponse", *more)
    loopback.will(converse_answer(stream=False, **more))
    await side.converse()
    assert (await only(spans)).get("llmtrace.cost.unpriced_reason") == reason
    llmtrace.uninstrument()
    prices = [{"model": "amazon.nova*", "input": "1", "output": "2"}]
    with llmtrace.instrument(tracer_provider=TracerProvider(), prices=prices), llmtrace.collect() as calls:
        await side.converse()
    assert calls.cost.total == Decimal(7 * 1 + 3 * 2) / 1_000_000


@ONE
async def test_optimized_latency_is_approximate(loopback: Loopback, spans: InMemorySpanExporter, side: Side) -> None:
    """Latency-optimized inference costs more, and the price list has no row for it."""
    side.needs("ConverseResponse", "performanceConfig")
    loopback.will(converse_answer(stream=False, performanceConfig={"latency": "optimized"}))
    await side.converse()
    assert (await only(spans))["llmtrace.cost.approximate"] is True


@pytest.mark.parametrize(
    ("host", "model", "approximate"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", NOVA, False),
        ("bedrock-runtime.us-west-2.amazonaws.com", f"us.{NOVA}", False),
        ("bedrock-runtime.eu-central-1.amazonaws.com", NOVA, True),
        ("vpce-1.bedrock-runtime.ap-northeast-1.vpce.amazonaws.com", NOVA, True),
        ("127.0.0.1", f"eu.{NOVA}", True),
        ("127.0.0.1", f"{ACCOUNT}:inference-profile/apac.{NOVA}", True),
        ("bedrock-runtime.eu-central-1.amazonaws.com", f"eu.{SONNET}", False),
    ],
)
def test_prices_of_other_regions_are_approximate(host: str, model: str, approximate: bool) -> None:
    """The price list has the prices of the United States, except where it has a row for regions."""
    usage = {"input": 7, "output": 3}
    priced = Pricer().price("aws.bedrock", host, Request("chat", model), Response(usage=usage))
    assert priced is not None
    assert priced.reason is None
    assert priced.approximate is approximate
