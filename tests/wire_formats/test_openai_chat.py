"""Variants of the OpenAI dialect in compatible servers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from openai.types.chat import ChatCompletionChunk

from llmtrace.model import Request, Response
from llmtrace.model.wire_format import WireFormat
from llmtrace.pricing.price import Pricer
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.responses import RESPONSES

PRICER = Pricer()


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish, **more.pop("choice", {})}]
    return {"id": "c", "model": "m", "choices": choices, **more}


def folded(*chunks: Any) -> Response:
    assert CHAT.accumulator is not None
    chunks_read = CHAT.accumulator()
    for each in chunks:
        chunks_read.add(each)
    return chunks_read.result()


@pytest.mark.parametrize("total, output", [(135, 103), (41, 9)], ids=["beside the completion", "within it"])
def test_reasoning_outside_completion_tokens_is_added(total: int, output: int) -> None:
    """xAI's completion tokens exclude reasoning, as its total shows; our output includes it."""
    usage = {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 94 if total == 135 else 4},
    }
    reported = CHAT.response({"usage": usage}).usage
    assert reported is not None
    assert reported["output"] == output
    assert reported["output"] >= reported["reasoning"]


@pytest.mark.parametrize("wire", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_cost_in_ticks_is_converted_to_usd(wire: WireFormat) -> None:
    """xAI states the cost of a call, tools included, in ticks of 1e-10 USD."""
    assert wire.response({"usage": {"cost_in_usd_ticks": 318319000}}).stated_cost == Decimal("0.0318319")
    assert wire.response({"usage": {"cost_in_usd_ticks": 0}}).stated_cost == 0
    assert wire.response({"usage": {"cost_in_usd_ticks": "1"}}).stated_cost is None


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("total", "approximate"), [(100, True), (72, False), (None, False)])
def test_total_above_its_parts_is_unexplained(total: int | None, approximate: bool, streamed: bool) -> None:
    """Gemini bills reasoning that only the total of its OpenAI dialect includes, so the cost is approximate."""
    usage = {"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": total}
    answer = folded(chunk({}, "stop"), chunk(usage=usage)) if streamed else CHAT.response({"usage": usage})
    answer.model = "gemini-2.5-pro"
    assert answer.usage == {"input": 66, "output": 6}
    priced = PRICER.price("gcp.gemini", None, Request("chat", "gemini-2.5-pro"), answer)
    assert priced is not None
    assert priced.approximate is approximate


def test_usage_inside_a_choice_is_read() -> None:
    """Moonshot reports the usage of a stream inside the last choice."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cached_tokens": 4}
    answer = folded(chunk({"content": "a"}), chunk({}, "stop", choice={"usage": usage}))
    assert answer.usage == {"input": 5, "output": 2, "cache_read": 4}


@pytest.mark.parametrize("ends", [True, False])
def test_usage_on_every_chunk_does_not_end_the_stream(ends: bool) -> None:
    """A stream that reports usage on every chunk and is cut is incomplete."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    last = [chunk(usage=usage)] if ends else []
    assert folded(chunk({"content": "a"}, usage=usage), chunk({"content": "b"}, usage=usage), *last).complete is ends


def test_tier_sent_with_the_usage_is_read() -> None:
    """Tier and fingerprint of the usage chunk are recorded; id and model are those of the first chunk."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    end = {**chunk(usage=usage, service_tier="default", system_fingerprint="fp"), "id": "other", "model": "other"}
    answer = folded(chunk({"content": "a"}, service_tier="auto"), chunk({}, "stop"), end)
    assert (answer.service_tier, answer.fingerprint) == ("default", "fp")
    assert (answer.id, answer.model) == ("c", "m")


def test_tier_inside_the_usage_is_read() -> None:
    """Mistral reports the tier with the counts. One at the top level is the response's own."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6, "service_tier": "priority"}
    assert folded(chunk({"content": "a"}), chunk({}, "stop", usage=usage)).service_tier == "priority"
    assert CHAT.response({"usage": usage}).service_tier == "priority"
    assert CHAT.response({"usage": usage, "service_tier": "default"}).service_tier == "default"
    assert CHAT.response({"usage": {**usage, "service_tier": 3}}).service_tier is None


def test_error_in_a_200_response_is_a_failure() -> None:
    """A gateway that responds with 200 and reports an error inside has failed."""
    answer = CHAT.response({"error": {"code": 502, "message": "bad gateway"}, "user_id": "u"})
    assert (answer.failed, answer.error) == (True, "502")
    assert not CHAT.response({"choices": [{"message": {}}], "error": None}).failed


def test_perplexity_searches_are_counted() -> None:
    """Perplexity reports the number of its searches."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "num_search_queries": 3}
    assert CHAT.response({"usage": usage}).usage == {"input": 5, "output": 2, "web_searches": 3}


@pytest.mark.parametrize("models", [False, True], ids=["mappings", "models"])
def test_refusal_in_a_later_choice_is_recorded(models: bool) -> None:
    """A refusal in the second choice counts, whatever the first choice contains."""
    reported = [
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk({"refusal": "no"}, choice={"index": 1}),
        chunk({}, "stop"),
        chunk({}, "stop", choice={"index": 1}),
    ]
    about = {"created": 1, "object": "chat.completion.chunk"}
    chunks = [ChatCompletionChunk.model_validate({**about, **each}) if models else each for each in reported]
    assert folded(*chunks).refused
    assert not folded(*chunks[:2], *chunks[3:]).refused


@pytest.mark.parametrize(
    ("stop", "reported"), [("x", ["x"]), (["x", "y"], ["x", "y"]), (["x", 1], None), (5, None), (None, None)]
)
def test_stop_sequences_are_copied_as_a_list(stop: Any, reported: list[str] | None) -> None:
    """One or several stop sequences give a copied list; other types are ignored."""
    found = CHAT.request({"model": "m", "stop": stop}).params.get("stop_sequences")
    assert found == reported
    assert found is None or found is not stop
