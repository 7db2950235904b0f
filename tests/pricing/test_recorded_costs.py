"""The cost of every recorded exchange, against arithmetic on what the vendor's body says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from llmtrace.model import Request, Response
from llmtrace.pricing.price import Pricer

AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
#: recorded provider -> OpenTelemetry's name, the catalog's name
PROVIDERS = {
    "anthropic": ("anthropic", "anthropic"),
    "azure": ("azure.ai.openai", "azure"),
    "bedrock": ("aws.bedrock", "aws"),
    "cerebras": ("cerebras", "cerebras"),
    "cohere": ("cohere", "cohere"),
    "deepseek": ("deepseek", "deepseek"),
    "google": ("gcp.gemini", "google"),
    "groq": ("groq", "groq"),
    "huggingface": ("hugging_face", None),
    "mistral": ("mistral_ai", "mistral"),
    "openai": ("openai", "openai"),
    "openrouter": ("openrouter", "openrouter"),
    "together": ("together_ai", "together"),
    "voyage": ("voyage_ai", "voyageai"),
    "zai": ("z_ai", "zai"),
}
PRICED = {
    "chat.completions", "completions", "responses", "responses.compact", "embeddings", "messages", "generate_content",
    "converse", "invoke_model", "chat", "embed_content", "rerank",
}  # fmt: skip
FIELDS = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cache_read_input_tokens": "cache_read",
    "cache_creation_input_tokens": "cache_write",
    "cache_creation_5m_input_tokens": "cache_write_5m",
    "cache_creation_1h_input_tokens": "cache_write_1h",
    "reasoning_output_tokens": "reasoning",
    "input_audio_tokens": "audio_input",
    "output_audio_tokens": "audio_output",
    "web_search_requests": "web_searches",
    "tool_use_input_tokens": "tool_input",
}


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    made = Pricer()
    made.load()
    return made


def with_usage(cassettes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        each
        for each in cassettes
        if each["surface"] in PRICED and each["response"]["status"] < 400 and each["provider"] in PROVIDERS
    ]


def row_of(pricer: Pricer, provider: str | None, name: str, context: dict[str, str]) -> dict[str, Any] | None:
    """Return the library's prices for a name, by the library's own look-up."""
    if provider is None:
        return None
    try:
        seller, model = pricer.load().snapshot.find_provider_model(name, None, provider, None)
    except LookupError:
        return None
    own = any(model is each for each in seller.models)
    return dict(vars(model.get_prices(AT, context if own else None)))


def priced_by_hand(row: dict[str, Any], surface: str, raw: dict[str, Any]) -> Decimal:
    """Return the price of a vendor's own counts, read as its documentation bills them."""

    def count(*path: str) -> int:
        value: Any = raw
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value or 0

    audio = 0
    if surface in ("messages", "invoke_model") and "input_tokens" in raw:
        read, wrote = count("cache_read_input_tokens"), count("cache_creation_input_tokens")
        long = count("cache_creation", "ephemeral_1h_input_tokens")
        fresh, out = count("input_tokens"), count("output_tokens")
        total = fresh + read + wrote
    elif surface == "converse":
        read, wrote, long = count("cacheReadInputTokens"), count("cacheWriteInputTokens"), 0
        fresh, out = count("inputTokens"), count("outputTokens")
        total = fresh + read + wrote
    elif surface == "generate_content":
        read, wrote, long = count("cachedContentTokenCount"), 0, 0
        total = count("promptTokenCount") + count("toolUsePromptTokenCount")
        fresh, out = total - read, count("candidatesTokenCount") + count("thoughtsTokenCount")
        audio = sum(each["tokenCount"] for each in raw.get("promptTokensDetails", ()) if each["modality"] == "AUDIO")
    elif surface == "embed_content":
        read, wrote, long, out = 0, 0, 0, 0
        total = fresh = count("promptTokenCount")
    elif surface.startswith("responses"):
        total, out = count("input_tokens"), count("output_tokens")
        read, wrote = (
            count("input_tokens_details", "cached_tokens"),
            count("input_tokens_details", "cache_write_tokens"),
        )
        fresh, long = total - read - wrote, 0
    else:
        total, out = count("prompt_tokens") or count("total_tokens"), count("completion_tokens")
        read = count("prompt_tokens_details", "cached_tokens")
        read = read or count("prompt_cache_hit_tokens") or count("num_cached_tokens")
        wrote, long = count("prompt_tokens_details", "cache_write_tokens"), 0
        fresh = total - read - wrote

    def rate(*names: str) -> Decimal:
        price = next((row[name] for name in names if row.get(name) is not None), Decimal(0))
        for tier in getattr(price, "tiers", ()):
            if total > tier.start:
                return Decimal(tier.price)
        return Decimal(getattr(price, "base", price))

    millionths = (
        (fresh - audio) * rate("input_mtok")
        + audio * rate("input_audio_mtok", "input_mtok")
        + read * rate("cache_read_mtok", "input_mtok")
        + (wrote - long) * rate("cache_write_mtok", "input_mtok")
        + long * rate("cache_write_1h_mtok", "cache_write_mtok", "input_mtok")
        + out * rate("output_mtok")
    )
    searches = count("server_tool_use", "web_search_requests")
    return millionths / 1_000_000 + (searches * rate("web_searches_kcount") + rate("requests_kcount")) / 1_000


@pytest.mark.cassettes(choose=with_usage)
def test_recorded_exchanges_have_the_cost_of_their_counts(pricer: Pricer, cassette: dict[str, Any]) -> None:
    """A priced exchange costs its counts by the price list; the others have a reason and no cost."""
    expected = cassette["expected"]
    provider, listed = PROVIDERS[cassette["provider"]]
    reported = expected.get("normalised") or {}
    counts = {FIELDS[name]: count for name, count in reported.items() if name in FIELDS and count is not None}
    tier = expected.get("service_tier")
    request = Request("embeddings" if "embed" in cassette["surface"] else "chat", expected["request_model"])
    answer = Response(model=expected["model"], usage=counts or None, service_tier=tier)
    priced = pricer.price(provider, None, request, answer, AT.timestamp())
    assert priced is not None
    if not counts:
        assert (priced.reason, priced.cost()) == ("no_usage", None)
        return
    names = [expected["model"], expected["request_model"]]
    if provider == "aws.bedrock":
        names.reverse()
    context = {"service_tier": tier} if tier in ("flex", "priority") else {}
    spelt = [name.removeprefix("models/") for name in names if name]
    rows = [row for name in spelt if (row := row_of(pricer, listed, name, context))]
    if not rows or not any(rows[0].values()):
        assert priced.reason in ("unknown_model", "unknown_unit")
        assert priced.cost() is None
        return
    cost = priced.cost()
    if "input" not in counts or counts["input"] < counts.get("cache_read", 0) + counts.get("cache_write", 0):
        # Half of the usage, or one that cannot be: no figure is better than a wrong one.
        assert priced.reason in ("partial_usage", "inconsistent_usage")
        assert cost is None
        return
    assert cost is not None, priced
    assert cost.total == priced_by_hand(rows[0], cassette["surface"], expected["usage"]), json.dumps(expected["usage"])
    assert sum(cost.parts.values()) == cost.total
