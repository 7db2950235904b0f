"""Invented traffic, with the attribute names of the contract, for the store, the reports and their benchmark."""

from __future__ import annotations

import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from llmtrace.store.span_codec import StoredSpan

START = 1_780_000_000_000_000_000
DAY = 86_400_000_000_000
#: model -> (provider, input, cache read, output) in USD per million tokens
MODELS = {
    "gpt-4.1": ("openai", "2.00", "0.50", "8.00"),
    "gpt-4.1-mini": ("openai", "0.40", "0.10", "1.60"),
    "claude-sonnet-4-5": ("anthropic", "3.00", "0.30", "15.00"),
    "gemini-2.5-flash": ("gcp.gemini", "0.30", "0.03", "2.50"),
    "house-llm": ("openai", "", "", ""),
}
FEATURES = {
    "search": ("gpt-4.1-mini", "gpt-4.1"),
    "support": ("claude-sonnet-4-5", "gpt-4.1"),
    "summary": ("gemini-2.5-flash",),
    "import": ("house-llm", "gpt-4.1-mini"),
}


def traces(
    count: int, *, seed: int = 1, days: float = 7.0, users: int = 5000, calls: int = 2
) -> Iterator[list[StoredSpan]]:
    """Return traces in chronological order, each a workflow with a search and calls."""
    rng = random.Random(seed)
    for number in range(count):
        started = START + int(days * DAY * number / count)
        feature = rng.choices(list(FEATURES), (5, 3, 2, 1))[0]
        trace, root = f"{rng.getrandbits(128):032x}", f"{rng.getrandbits(64):016x}"
        scope: dict[str, Any] = {
            "llmtrace.feature": feature,
            "user.id": f"user-{int(rng.paretovariate(0.8)) % users}",
            "session.id": f"session-{number // 4}",
            "llmtrace.tenant": rng.choice(("acme", "globex", "initech")),
            "tag.tags": ["beta"] if rng.random() < 0.2 else ["stable"],
            "llmtrace.tag.region": rng.choice(("eu", "us")),
        }
        made, at = [], started + 1_000_000
        for _ in range(calls):
            made.append(call(rng, trace, root, at, feature, scope))
            at = made[-1].ended + 2_000_000
        attributes = {"gen_ai.operation.name": "invoke_workflow", "gen_ai.workflow.name": feature, **scope}
        yield [
            *made,
            StoredSpan(
                trace, root, None, f"invoke_workflow {feature}", started, at, attributes=attributes, resource=SERVICE
            ),
        ]


SERVICE = {"service.name": "shop", "telemetry.sdk.language": "python"}


def call(rng: random.Random, trace: str, parent: str, at: int, feature: str, scope: dict[str, Any]) -> StoredSpan:
    model = rng.choice(FEATURES[feature])
    provider = MODELS[model][0]
    duration = rng.lognormvariate(0.0, 0.6)
    streamed = feature in ("search", "support") and rng.random() < 0.8
    reported: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": model,
        "server.address": f"api.{provider}.com",
        "server.port": 443,
        "gen_ai.request.max_tokens": 800,
        "gen_ai.request.temperature": 0.2,
        "gen_ai.input.messages": f'["{rng.getrandbits(64):016x}"]',
        **scope,
        "gen_ai.prompt.name": f"{feature}-answer",
        "gen_ai.prompt.version": rng.choice(("3", "4")),
        "llmtrace.prompt.hash": "sha256:0123456789ab",
    }
    if rng.random() < 0.01:
        reported |= {"llmtrace.outcome": "error", "error.type": "429", "http.response.status_code": 429}
        return StoredSpan(
            trace, f"{rng.getrandbits(64):016x}", parent, f"chat {model}", at, at + int(duration * 1e8), "CLIENT",
            "ERROR", "RateLimitError", reported, ({"name": "exception", "time": at, "attributes": {"a": "x"}},),
            scope=("llmtrace.openai", "0.1.0"), resource=SERVICE,
        )  # fmt: skip
    reported |= {
        "gen_ai.response.id": f"chatcmpl-{rng.getrandbits(96):024x}",
        "gen_ai.response.model": f"{model}-2025-04-14",
        "llmtrace.request_id": f"req_{rng.getrandbits(96):024x}",
        "gen_ai.response.finish_reasons": [rng.choices(("stop", "length", "content_filter"), (95, 4, 1))[0]],
        "llmtrace.outcome": "ok",
    }
    if streamed:
        end = rng.choices(("exhausted", "closed", "dropped"), (95, 4, 1))[0]
        reported |= {
            "gen_ai.request.stream": True,
            "gen_ai.response.time_to_first_chunk": duration * 0.2,
            "llmtrace.stream.time_to_first_token": duration * 0.25,
            "llmtrace.stream.chunks": rng.randint(10, 300),
            "llmtrace.stream.end": end,
            "llmtrace.stream.completed": end == "exhausted",
            "llmtrace.stream.tokens_per_second": rng.uniform(30, 120),
            "llmtrace.stream.time_per_output_chunk.mean": rng.uniform(0.01, 0.02),
            "llmtrace.stream.time_per_output_chunk.p95": rng.uniform(0.02, 0.05),
            "llmtrace.stream.time_per_output_chunk.max": rng.uniform(0.05, 0.5),
            "llmtrace.stream.stalls": 0,
        }
        if end == "dropped":
            reported |= {"llmtrace.usage.source": "partial", "llmtrace.cost.unpriced_reason": "partial_usage",
                     "llmtrace.usage.estimated_input_tokens": 900, "llmtrace.usage.estimated_output_tokens": 100,
                     "llmtrace.cost.estimated_usd": 0.001}  # fmt: skip
    if "llmtrace.usage.source" not in reported:
        reported |= usage(rng, model)
    return StoredSpan(
        trace, f"{rng.getrandbits(64):016x}", parent, f"chat {model}", at, at + int(duration * 1e9), "CLIENT",
        attributes=reported, scope=(f"llmtrace.{provider}", "0.1.0"), resource=SERVICE,
    )  # fmt: skip


def usage(rng: random.Random, model: str) -> dict[str, Any]:
    read = rng.choice((0, 0, 512, 1024))
    fresh, output = rng.randint(100, 3000), rng.randint(20, 600)
    reported: dict[str, Any] = {
        "llmtrace.usage.source": "provider",
        "gen_ai.usage.input_tokens": fresh + read,
        "gen_ai.usage.output_tokens": output,
    }
    if read:
        reported["gen_ai.usage.cache_read.input_tokens"] = read
    _, *prices = MODELS[model]
    if not prices[0]:
        return {**reported, "llmtrace.cost.unpriced_reason": "unknown_model"}
    parts = [Decimal(price) * tokens / 10**6 for price, tokens in zip(prices, (fresh, read, output), strict=True)]
    return {
        **reported,
        "llm.cost.total": float(sum(parts)),
        "gen_ai.usage.cost": float(sum(parts)),
        "llm.cost.prompt": float(parts[0] + parts[1]),
        "llm.cost.prompt_details.input": float(parts[0]),
        "llm.cost.prompt_details.cache_read": float(parts[1]),
        "llm.cost.completion": float(parts[2]),
        "llm.cost.completion_details.output": float(parts[2]),
        "llmtrace.cost.exact": str(sum(parts)),
        "llmtrace.cost.source": "catalog",
        "llmtrace.cost.catalog_version": "2026-11-20",
        "llmtrace.cost.model": model,
    }
