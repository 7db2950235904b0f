"""What servers of the OpenAI dialect tell in ways of their own."""

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
def test_reasoning_beside_the_completion(total: int, output: int) -> None:
    """xAI's completion tokens leave out the reasoning, as its total says; output includes it, whoever counts."""
    usage = {
        "prompt_tokens": 32,
        "completion_tokens": 9,
        "total_tokens": total,
        "completion_tokens_details": {"reasoning_tokens": 94 if total == 135 else 4},
    }
    told = CHAT.response({"usage": usage}).usage
    assert told is not None
    assert told["output"] == output
    assert told["output"] >= told["reasoning"]


@pytest.mark.parametrize("wire", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_a_cost_in_ticks(wire: WireFormat) -> None:
    """xAI states what a call cost, tools included, in parts of a dollar of which there are ten thousand million."""
    assert wire.response({"usage": {"cost_in_usd_ticks": 318319000}}).stated_cost == Decimal("0.0318319")
    assert wire.response({"usage": {"cost_in_usd_ticks": 0}}).stated_cost == 0
    assert wire.response({"usage": {"cost_in_usd_ticks": "1"}}).stated_cost is None


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(("total", "approximate"), [(100, True), (72, False), (None, False)])
def test_a_total_beyond_its_parts(total: int | None, approximate: bool, streamed: bool) -> None:
    """Gemini bills thoughts that only the total of its OpenAI dialect shows: the cost without them is no exact one."""
    usage = {"prompt_tokens": 66, "completion_tokens": 6, "total_tokens": total}
    answer = folded(chunk({}, "stop"), chunk(usage=usage)) if streamed else CHAT.response({"usage": usage})
    answer.model = "gemini-2.5-pro"
    assert answer.usage == {"input": 66, "output": 6}
    priced = PRICER.price("gcp.gemini", None, Request("chat", "gemini-2.5-pro"), answer)
    assert priced is not None
    assert priced.approximate is approximate


def test_usage_within_a_choice() -> None:
    """Moonshot tells the usage of a stream inside the last choice, cached tokens beside the totals."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "cached_tokens": 4}
    answer = folded(chunk({"content": "a"}), chunk({}, "stop", choice={"usage": usage}))
    assert answer.usage == {"input": 5, "output": 2, "cache_read": 4}


@pytest.mark.parametrize("ends", [True, False])
def test_usage_on_every_chunk_is_no_end(ends: bool) -> None:
    """A stream that tells its usage so far on every chunk and is cut is not complete."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    last = [chunk(usage=usage)] if ends else []
    assert folded(chunk({"content": "a"}, usage=usage), chunk({"content": "b"}, usage=usage), *last).complete is ends


def test_what_is_told_with_the_usage_only() -> None:
    """A tier or a fingerprint that comes with the usage is that of the answer; its names are those it began with."""
    usage = {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    end = {**chunk(usage=usage, service_tier="default", system_fingerprint="fp"), "id": "other", "model": "other"}
    answer = folded(chunk({"content": "a"}, service_tier="auto"), chunk({}, "stop"), end)
    assert (answer.service_tier, answer.fingerprint) == ("default", "fp")
    assert (answer.id, answer.model) == ("c", "m")


def test_failure_in_an_answer_that_arrived() -> None:
    """A gateway that answers 200 and says inside that its provider failed has failed."""
    answer = CHAT.response({"error": {"code": 502, "message": "bad gateway"}, "user_id": "u"})
    assert (answer.failed, answer.error) == (True, "502")
    assert not CHAT.response({"choices": [{"message": {}}], "error": None}).failed


def test_searches_are_counted() -> None:
    """Perplexity says how often it searched."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "num_search_queries": 3}
    assert CHAT.response({"usage": usage}).usage == {"input": 5, "output": 2, "web_searches": 3}


@pytest.mark.parametrize("models", [False, True], ids=["mappings", "models"])
def test_one_of_several_choices_declines(models: bool) -> None:
    """A refusal in the second choice is one, whatever the first has said before it."""
    told = [
        chunk({"content": "a"}),
        chunk({"content": "b"}),
        chunk({"refusal": "no"}, choice={"index": 1}),
        chunk({}, "stop"),
        chunk({}, "stop", choice={"index": 1}),
    ]
    about = {"created": 1, "object": "chat.completion.chunk"}
    chunks = [ChatCompletionChunk.model_validate({**about, **each}) if models else each for each in told]
    assert folded(*chunks).refused
    assert not folded(*chunks[:2], *chunks[3:]).refused


@pytest.mark.parametrize(
    ("stop", "told"), [("x", ["x"]), (["x", "y"], ["x", "y"]), (["x", 1], None), (5, None), (None, None)]
)
def test_stop_sequences(stop: Any, told: list[str] | None) -> None:
    """One or several, always a list and a copy; what is no text is left out."""
    found = CHAT.request({"model": "m", "stop": stop}).params.get("stop_sequences")
    assert found == told
    assert found is None or found is not stop
