"""What answers of the messages API say that no recording shows."""

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
def test_edited_conversation(answer: dict[str, Any], compacted: bool) -> None:
    """An answer for which the server edited the conversation says so, plain and streamed."""
    assert MESSAGES.response(answer).compacted is compacted
    blocks = ({"type": "content_block_start", "content_block": block} for block in answer.get("content", ()))
    assert folded(*blocks, {"type": "message_delta", **answer}).compacted is compacted


def test_steps_beside_the_totals() -> None:
    """What a compaction or an advisor took is told apart; a step of a kind we do not know makes the price doubtful."""
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


def test_signature_is_no_token() -> None:
    """Thinking that is left out has a signature only, which is not the first token."""
    assert MESSAGES.accumulator is not None
    read = MESSAGES.accumulator()
    assert not read.add({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}})
    assert read.add({"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}})
    assert read.add({"type": "content_block_delta", "delta": {"type": "signature_delta", "signature": "x"}})
