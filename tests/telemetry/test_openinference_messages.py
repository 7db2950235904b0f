"""OpenInference messages for the parts that Phoenix drops when it converts the convention's messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtrace.telemetry.bridges.openinference import openinference, write_messages

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
SEARCH = {
    "type": "server_tool_call",
    "id": "s1",
    "name": "web_search",
    "server_tool_call": {"type": "web_search", "input": {"query": "otel"}},
}
SEARCH_RESULT = {
    "type": "server_tool_call_response",
    "id": "s1",
    "server_tool_call_response": {"type": "web_search", "content": [{"url": "https://a"}]},
}


def bridged(**lists: Any) -> dict[str, Any]:
    attributes = {**CHAT, **{f"gen_ai.{name}": json.dumps(value) for name, value in lists.items()}}
    return {
        key: value
        for key, value in openinference({key.replace("__", "."): v for key, v in attributes.items()}, 0).items()
        if key.startswith(("llm.input_messages", "llm.output_messages"))
    }


def test_server_tool_calls_are_written_as_tool_calls() -> None:
    """A server tool call becomes a tool call with arguments, its result a text."""
    parts = [SEARCH, SEARCH_RESULT, {"type": "text", "content": "done"}]
    written = bridged(output__messages=[{"role": "assistant", "parts": parts, "finish_reason": "stop"}])
    message = "llm.output_messages.0.message."
    assert written == {
        f"{message}role": "assistant",
        f"{message}tool_calls.0.tool_call.id": "s1",
        f"{message}tool_calls.0.tool_call.function.name": "web_search",
        f"{message}tool_calls.0.tool_call.function.arguments": '{"query":"otel"}',
        f"{message}contents.0.message_content.type": "text",
        f"{message}contents.0.message_content.text": '[{"url":"https://a"}]',
        f"{message}contents.1.message_content.type": "text",
        f"{message}contents.1.message_content.text": "done",
    }


def test_messages_with_files_are_written_completely() -> None:
    """The list includes system instructions, images, tool calls and tool results."""
    written = bridged(
        system_instructions=[{"type": "text", "content": "be kind"}],
        input__messages=[
            {
                "role": "user",
                "parts": [
                    {"type": "file", "modality": "document", "file_id": "file_1"},
                    {"type": "uri", "modality": "image", "uri": "https://p/a.png"},
                    {"type": "blob", "modality": "image", "mime_type": "image/gif", "content": "AAAA"},
                    {"type": "blob", "modality": "audio", "mime_type": "audio/wav", "content": "", "bytes": 3},
                ],
            },
            {"role": "assistant", "parts": [{"type": "tool_call", "id": "t", "name": "f", "arguments": {"x": 1}}]},
            {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t", "response": {"y": 2}}]},
        ],
    )
    prefix = "llm.input_messages."
    assert written[f"{prefix}0.message.role"] == "system"
    assert written[f"{prefix}0.message.contents.0.message_content.text"] == "be kind"
    assert written[f"{prefix}1.message.contents.0.message_content.text"] == "[document file file_1]"
    assert written[f"{prefix}1.message.contents.1.message_content.image.image.url"] == "https://p/a.png"
    assert written[f"{prefix}1.message.contents.2.message_content.image.image.url"] == "data:image/gif;base64,AAAA"
    assert "audio/wav" in written[f"{prefix}1.message.contents.3.message_content.text"]
    assert written[f"{prefix}2.message.tool_calls.0.tool_call.function.arguments"] == '{"x":1}'
    assert (written[f"{prefix}3.message.content"], written[f"{prefix}3.message.tool_call_id"]) == ('{"y":2}', "t")


@pytest.mark.parametrize("text", ["hi", 'about "file" and "compaction"'])
def test_messages_that_phoenix_converts_are_not_written(text: str) -> None:
    """No key of OpenInference's lists is written, or Phoenix would ignore the convention's messages."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    assert bridged(input__messages=messages, output__messages=messages) == {}


def test_long_or_invalid_lists_are_not_written() -> None:
    """A list with too many attributes, or of another type, is not written at all."""
    assert write_messages("m", [{"role": "user", "parts": [SEARCH]}] * 100) == {}
    assert write_messages("m", None) == {}
    assert write_messages("m", [None, {"parts": 5}]) == {}
