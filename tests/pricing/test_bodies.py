"""What vendors' own bodies come to, read by the wire formats and priced: the sums that are easy to get wrong."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model.wire_format import WireFormat
from llmtrace.pricing.price import Pricer
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.media import IMAGES, MODERATIONS
from llmtrace.providers.openai.responses import RESPONSES

TOKENS = {"prompt_tokens": 10, "completion_tokens": 5}
IMAGE = {
    "input_tokens": 50,
    "output_tokens": 1056,
    "input_tokens_details": {"text_tokens": 40, "image_tokens": 10},
    "output_tokens_details": {"image_tokens": 1000, "text_tokens": 56},
}
ADVISOR = {"type": "advisor_message", "model": "claude-opus-4-8", "input_tokens": 2543, "output_tokens": 18}
COMPACTION = {"type": "compaction", "input_tokens": 1000, "output_tokens": 100}


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    made = Pricer()
    made.load()
    return made


def make_completion(model: str, **usage: Any) -> dict[str, Any]:
    return {"model": model, "usage": {**TOKENS, **usage}}


def response(**more: Any) -> dict[str, Any]:
    usage = {"input_tokens": 100, "output_tokens": 10}
    return {"model": "gpt-4o", "status": "completed", "usage": usage, **more}


def make_message(**usage: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "usage": {"input_tokens": 10, "output_tokens": 5, **usage}}


def make_searches(*calls: dict[str, Any], **tool_usage: Any) -> dict[str, Any]:
    return response(output=[{"type": "web_search_call", **call} for call in calls], tool_usage=tool_usage or None)


def draws(**more: Any) -> dict[str, Any]:
    return response(output=[{"type": "image_generation_call"}], **more)


BODIES = {
    # whose, how read, what came back, exact cost or reason, what is billed and not in it
    "a stated cost": ("openrouter", CHAT, make_completion("openai/gpt-4o", cost=0), "0", ()),
    "fee and price": (
        "openrouter",
        CHAT,
        make_completion("openai/gpt-4o", cost=0.1, is_byok=True, cost_details={"upstream_inference_cost": 0.2}),
        "0.3",
        (),
    ),
    "no fee": (
        "openrouter",
        CHAT,
        make_completion("openai/gpt-4o", cost=True, is_byok=True, cost_details={"upstream_inference_cost": 0.2}),
        "0.000075",
        (),
    ),
    "a huge fee": (
        "openrouter",
        CHAT,
        make_completion("openai/gpt-4o", cost=10**400, is_byok=True, cost_details={"upstream_inference_cost": 0.2}),
        "0.000075",
        (),
    ),
    "free": ("openrouter", CHAT, make_completion("meta-llama/llama-3.3-70b-instruct:free"), "0", ()),
    "free moderation": ("openai", MODERATIONS, {"model": "omni-moderation-latest", "results": []}, "0", ()),
    "the maker's prefix": ("openai", CHAT, make_completion("openai/gpt-4o"), "0.000075", ()),
    "reasoning apart": (
        "x_ai",
        CHAT,
        make_completion("grok-4", total_tokens=115, completion_tokens_details={"reasoning_tokens": 100}),
        "0.001605",
        (),
    ),
    "research": (
        "perplexity",
        CHAT,
        make_completion("sonar-deep-research", reasoning_tokens=1000, citation_tokens=100, num_search_queries=3),
        "0.01826",  # 10 at 2, 5 at 8, 1,000 at 3, 100 at 2 per million; 3 searches at 5 per thousand
        (),
    ),
    "more reasoning than output": (
        "openai",
        CHAT,
        make_completion("gpt-4o", total_tokens=15, completion_tokens_details={"reasoning_tokens": 100}),
        "inconsistent_usage",
        (),
    ),
    "more cached than there is": (
        "openai",
        CHAT,
        make_completion("gpt-4", prompt_tokens_details={"cached_tokens": 11}),
        "inconsistent_usage",
        (),
    ),
    "writes by lifetime only": (
        "anthropic",
        MESSAGES,
        make_message(cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 50}),
        "0.00078",
        (),
    ),
    "another model's advice": ("anthropic", MESSAGES, make_message(iterations=[ADVISOR]), "0.01327", ()),
    "a summary": ("anthropic", MESSAGES, make_message(iterations=[COMPACTION, {"type": "message"}]), "0.004605", ()),
    "advice of who knows": (
        "anthropic",
        MESSAGES,
        make_message(iterations=[{**ADVISOR, "model": "nobody"}]),
        "0.000105",
        ("nobody",),
    ),
    "an older search": ("openai", RESPONSES, make_searches({"status": "completed"}), "0.01035", ()),
    "a page opened": ("openai", RESPONSES, make_searches({"action": {"type": "open_page"}}), "0.00035", ()),
    "billed searches": (
        "openai",
        RESPONSES,
        make_searches(*[{"action": {"type": "search"}}] * 3, web_search={"num_requests": 1}),
        "0.01035",
        (),
    ),
    "a drawing": (
        "openai",
        RESPONSES,
        draws(tools=[{"type": "image_generation", "model": "gpt-image-1.5"}], tool_usage={"image_gen": IMAGE}),
        "0.03319",
        (),
    ),
    "a drawing, untold": ("openai", RESPONSES, draws(), "0.00035", ("images",)),
    "a drawing by whom": ("openai", RESPONSES, draws(tool_usage={"image_gen": IMAGE}), "0.00035", ("images",)),
    "an image and words": ("openai", IMAGES, {"data": [{}], "usage": IMAGE}, "0.03284", ()),
    "an image in SVG": (
        "openai",
        IMAGES,
        {"data": [{}], "usage": IMAGE, "svg_usage": {"model": "gpt-4o", "input_tokens": 10, "output_tokens": 20}},
        "0.033065",
        (),
    ),
}


@pytest.mark.parametrize(("provider", "wire", "body", "sum_", "missing"), list(BODIES.values()), ids=list(BODIES))
def test_bodies_are_priced_with_all_billed_usage(
    pricer: Pricer, provider: str, wire: WireFormat, body: dict[str, Any], sum_: str, missing: tuple[str, ...]
) -> None:
    """All billed usage is in the cost; anything else is named and makes the cost approximate."""
    requested = wire.request({"model": body.get("model", "gpt-image-1.5")})
    priced = pricer.price(provider, None, requested, wire.response(body))
    assert priced is not None
    assert (priced.reason or priced.exact, priced.missing) == (sum_, missing)
    assert priced.approximate is bool(missing)


def test_streamed_image_costs_the_same(pricer: Pricer) -> None:
    """Every token of a streamed image is an image token, as in a complete response."""
    assert IMAGES.accumulator is not None
    events = IMAGES.accumulator()
    events.add({"type": "image_generation.completed", "usage": {"input_tokens": 50, "output_tokens": 1000}})
    priced = pricer.price("openai", None, IMAGES.request({"model": "gpt-image-1.5", "stream": True}), events.result())
    assert priced is not None
    assert priced.exact == "0.03225"


def test_free_model_replaced_by_a_router_has_no_cost(pricer: Pricer) -> None:
    """A router may use another model for a request to a free one: without a price there is no cost."""
    requested = CHAT.request({"model": "meta-llama/llama-3.3-70b-instruct:free"})
    priced = pricer.price("openrouter", None, requested, CHAT.response(make_completion("somebody/else")))
    assert priced is not None
    assert priced.reason == "unknown_model"
