"""Responses of the messages API that no recording covers."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.providers.anthropic.messages import MESSAGES

COMPACTION: dict[str, Any] = {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500}
MESSAGE: dict[str, Any] = {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}
EDITS: dict[str, Any] = {"context_management": {"applied_edits": [{"type": "clear_tool_uses_20250919"}]}}


def folded(*events: dict[str, Any]) -> Any:
    assert MESSAGES.accumulator is not None
    read = MESSAGES.accumulator()
    for event in events:
        read.add(event)
    return read.result()


@pytest.mark.parametrize(
    ("answer", "compacted"),
    [
        (EDITS, True),
        ({"content": [{"type": "compaction", "content": "all of it"}]}, True),
        ({"context_management": {"applied_edits": []}}, False),
        ({"context_management": None, "content": [{"type": "text", "text": "x"}]}, False),
    ],
)
def test_edited_conversation_sets_compacted(answer: dict[str, Any], compacted: bool) -> None:
    """A response for which the server edited the conversation is marked as compacted, plain and streamed."""
    assert MESSAGES.response(answer).compacted is compacted
    blocks = ({"type": "content_block_start", "content_block": block} for block in answer.get("content", ()))
    assert folded(*blocks, {"type": "message_delta", **answer}).compacted is compacted


def test_iterations_outside_the_totals_are_additional_usage() -> None:
    """Compaction and advisor usage is additional; an unknown type of iteration makes the price approximate."""
    advice = {**MESSAGE, "type": "advisor_message", "model": "claude-opus-4-8"}
    usage = {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": [COMPACTION, advice, MESSAGE]}
    for answer in (MESSAGES.response({"usage": usage}), folded({"type": "message_delta", "usage": usage})):
        assert answer.additional_usage == (
            (None, {"input": 180_000, "output": 3_500}),
            ("claude-opus-4-8", {"input": 23_000, "output": 1_000}),
        )
        assert answer.price_context == {}
    usage["iterations"] = [{**MESSAGE, "type": "review"}, MESSAGE]
    for answer in (MESSAGES.response({"usage": usage}), folded({"type": "message_delta", "usage": usage})):
        assert (answer.additional_usage, answer.price_context) == ((), {"iterations": "review"})


def test_signature_is_not_the_first_token() -> None:
    """Omitted thinking sends a signature only, which is not the first token."""
    assert MESSAGES.accumulator is not None
    read = MESSAGES.accumulator()
    assert not read.add({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}})
    assert read.add({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}})
    assert read.add({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}})
