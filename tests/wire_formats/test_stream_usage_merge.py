"""Usage of streams: later nulls and zeros do not erase it."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model.wire_format import WireFormat
from llmtrace.providers._usage import merge_counts
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.providers.openai.assistants import RUN
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.responses import RESPONSES

ZEROS = {"input_tokens": 0, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}
NULLS = dict.fromkeys(ZEROS)


def chunk(usage: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [], "usage": usage}


def claude(start: Any, *ends: Any) -> list[Any]:
    return [
        {"type": "message_start", "message": {"usage": start}},
        *({"type": "message_delta", "usage": end} for end in ends),
    ]


def event(kind: str, usage: Any) -> dict[str, Any]:
    return {"type": kind, "response": {"id": "r", "usage": usage}}


def gemini(**usage: int) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "usageMetadata": usage}


def run(usage: Any) -> dict[str, Any]:
    return {"object": "thread.run", "status": "completed", "usage": usage}


def interaction(usage: Any) -> dict[str, Any]:
    return {"event_type": "interaction.completed", "interaction": {"status": "completed", "usage": usage}}


CACHED = {"cache_read_input_tokens": 155_000, "cache_creation_input_tokens": 3_000}
START = {"input_tokens": 15, "output_tokens": 1, **CACHED}
STREAMS: dict[str, tuple[WireFormat, list[Any], dict[str, Any]]] = {
    "messages, zeros": (
        MESSAGES,
        claude(START, {**ZEROS, "output_tokens": 100}),
        {"input": 158_015, "output": 100, "cache_read": 155_000, "cache_write": 3_000},
    ),
    "messages, nulls": (
        MESSAGES,
        claude(START, {**NULLS, "output_tokens": 100}),
        {"input": 158_015, "output": 100, "cache_read": 155_000, "cache_write": 3_000},
    ),
    "messages, smaller": (
        MESSAGES,
        claude({"input_tokens": 900, "output_tokens": 1}, {"input_tokens": 700, "output_tokens": 5}),
        {"input": 700, "output": 5},
    ),
    "messages, reported at the end only": (
        MESSAGES,
        claude({"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 9, "output_tokens": 5}),
        {"input": 9, "output": 5},
    ),
    "messages, lifetimes": (
        MESSAGES,
        claude(
            {"input_tokens": 1, "cache_creation_input_tokens": 6, "cache_creation": {"ephemeral_1h_input_tokens": 6}},
            {"output_tokens": 2, "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}},
        ),
        {"input": 7, "output": 2, "cache_write": 6, "cache_write_5m": 0, "cache_write_1h": 6},
    ),
    "chat, zeros": (
        CHAT,
        [
            chunk({"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}),
            chunk({"prompt_tokens": 0, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 0}}),
            chunk({"prompt_tokens": None, "completion_tokens": 0, "prompt_tokens_details": None}),
        ],
        {"input": 9, "output": 7, "cache_read": 4},
    ),
    "responses, zeros": (
        RESPONSES,
        [
            event("response.in_progress", {"input_tokens": 9, "output_tokens": 3}),
            event("response.completed", {"input_tokens": 0, "output_tokens": 8}),
        ],
        {"input": 9, "output": 8},
    ),
    "responses, null": (
        RESPONSES,
        [event("response.in_progress", {"input_tokens": 9, "output_tokens": 3}), event("response.completed", None)],
        {"input": 9, "output": 3},
    ),
    "Gemini, zeros": (
        GENERATE,
        [
            gemini(promptTokenCount=9, candidatesTokenCount=2, cachedContentTokenCount=4, totalTokenCount=11),
            gemini(promptTokenCount=0, candidatesTokenCount=6, cachedContentTokenCount=0, totalTokenCount=6),
        ],
        {"input": 9, "output": 6, "cache_read": 4},
    ),
    "Gemini, left out": (
        GENERATE,
        [
            gemini(promptTokenCount=9, candidatesTokenCount=2, totalTokenCount=11),
            gemini(candidatesTokenCount=6, totalTokenCount=6),
        ],
        {"input": 9, "output": 6},
    ),
    "assistants, null": (
        RUN,
        [run({"prompt_tokens": 9, "completion_tokens": 3}), run(None), run({"prompt_tokens": 0})],
        {"input": 9, "output": 3},
    ),
    "interactions, zeros": (
        INTERACTIONS,
        [
            interaction({"total_input_tokens": 9, "total_output_tokens": 3, "total_thought_tokens": 2}),
            interaction({"total_input_tokens": 0, "total_output_tokens": 4, "total_thought_tokens": 0}),
        ],
        {"input": 9, "output": 6, "reasoning": 2},
    ),
}


@pytest.mark.parametrize(("wire", "chunks", "counts"), list(STREAMS.values()), ids=list(STREAMS))
def test_stream_usage_is_not_erased_by_a_later_null_or_zero(
    wire: WireFormat, chunks: list[Any], counts: dict[str, Any]
) -> None:
    """The last report of a count wins, even if smaller; a null, or a zero after a count, does not."""
    assert wire.accumulator is not None
    folded = wire.accumulator()
    for each in chunks:
        folded.add(each)
    assert folded.result().usage == counts


def test_merge_counts_of_zero_alone_stays_zero() -> None:
    """A zero is a count if nothing else was reported, and a positive count replaces it."""
    counts: dict[str, float] = {}
    merge_counts(counts, {"input": 0, "output": 0})
    merge_counts(counts, {"output": 3})
    assert counts == {"input": 0, "output": 3}
