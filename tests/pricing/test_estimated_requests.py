"""Token counts of request bodies, estimated from the content that each wire format reads."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model.wire_format import WireFormat
from llmtrace.pricing import tokens
from llmtrace.pricing.estimates import count_input, count_output
from llmtrace.providers.anthropic.messages import COMPLETE, MESSAGES
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.openai.chat import CHAT, COMPLETIONS
from llmtrace.providers.openai.embeddings import EMBEDDINGS
from llmtrace.providers.openai.responses import RESPONSES

pytestmark = pytest.mark.skipif(not tokens.available(), reason="the extra tokens is not installed")


def count_body(body: Any, wire_format: WireFormat = CHAT) -> int:
    """Return the estimated input tokens of a request body."""
    assert wire_format.content is not None
    operation = wire_format.request(body).operation
    return count_input(wire_format.content.request(body), "o200k_base", operation)


def test_messages_have_an_overhead() -> None:
    """A message costs three tokens, a name one, and the start of the response three."""
    body = {"messages": [{"role": "user", "content": "Hello"}, {"role": "user", "name": "Ann", "content": "Hello"}]}
    assert count_body(body) == (3 + 1 + 1) + (3 + 1 + 1 + 1 + 1) + 3


def test_tools_and_tool_calls_have_an_overhead() -> None:
    """A declared tool adds to the prompt, a tool call to the response."""
    tool = {"type": "function", "function": {"name": "f", "description": "Does.", "parameters": {
        "type": "object", "properties": {"unit": {"type": "string", "enum": ["a", "b"]}}}}}  # fmt: skip
    assert count_body({"messages": [], "tools": [tool]}) > count_body({"messages": []}) + 20
    assert count_output("f{}", "o200k_base", 1) == count_output("f{}", "o200k_base") + 7


FRAME, HELLO = 3, 1  # of a message; of the word
CALL: dict[str, Any] = {"id": "c", "function": {"name": "Hello", "arguments": "Hello"}}
RESULT: dict[str, Any] = {"type": "tool_result", "tool_use_id": "c", "content": [{"type": "text", "text": "Hello"}]}


@pytest.mark.parametrize(
    ("wire_format", "body", "expected"),
    [
        (COMPLETIONS, {"prompt": "Hello"}, HELLO),
        (COMPLETIONS, {"prompt": ["Hello", "Hello"]}, 2 * HELLO),
        (COMPLETIONS, {"prompt": [[5, 6], [7]]}, 3),
        (COMPLETE, {"prompt": "Hello"}, HELLO),
        (EMBEDDINGS, {"input": ["Hello", "Hello"]}, 2 * HELLO),
        (EMBEDDINGS, {"input": [5, 6, 7]}, 3),
        (RESPONSES, {"input": "Hello"}, FRAME + 1 + HELLO + 3),
        (RESPONSES, {"input": [], "instructions": "Hello"}, FRAME + 1 + HELLO + 3),
        (MESSAGES, {"messages": [], "system": [{"type": "text", "text": "Hello"}]}, FRAME + 1 + HELLO + 3),
        (MESSAGES, {"messages": [{"role": "user", "content": [RESULT]}]}, FRAME + 1 + HELLO + 3),
        (GENERATE, {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}, FRAME + 1 + HELLO + 3),
        (
            CHAT,
            {"messages": [{"role": "assistant", "tool_calls": [CALL, None, {}]}]},
            FRAME + 1 + FRAME + 2 * HELLO + 3,
        ),
        (CHAT, {"messages": [{"role": "user", "content": ["Hello", {"type": "image"}]}]}, FRAME + 1 + HELLO + 3),
        (CHAT, {"messages": [], "functions": [{"name": "Hello"}]}, 3 + 12 + 7 + 2),
    ],
)
def test_requests_of_all_formats_are_counted(wire_format: WireFormat, body: Any, expected: int) -> None:
    """Prompts, instructions, tool calls and encoded texts of every format count, messages with an overhead."""
    assert count_body(body, wire_format) == expected


@pytest.mark.parametrize("wire_format", [CHAT, MESSAGES, RESPONSES, GENERATE, EMBEDDINGS, COMPLETIONS])
@pytest.mark.parametrize(
    "body",
    [None, [], {}, {"messages": 3}, {"messages": [None, 3, {"content": {"type": "image"}}]},
     {"tools": [None, {"function": 1}]}, {"input": [None, {}]}, {"contents": [None, 3]},
     {"messages": [{"content": [{"type": "tool_use", "input": object()}]}], "tools": {}}, {"prompt": [[1, 2]]}],
)  # fmt: skip
def test_malformed_bodies_are_counted_without_errors(body: Any, wire_format: WireFormat) -> None:
    """A body of any shape is counted, at worst as nothing."""
    assert count_body(body, wire_format) >= 0
