"""Phoenix shows the parts of messages that its own conversion drops."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmtrace.telemetry.bridges.openinference import openinference
from llmtrace.telemetry.bridges.openinference_messages import write_messages

CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
SEARCH = {
    "type": "server_tool_call",
    "id": "s1",
    "name": "web_search",
    "server_tool_call": {"type": "web_search", "input": {"query": "otel"}},
}
FOUND = {
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


def test_server_side_tool_calls_are_shown() -> None:
    """The call is a tool call with its arguments, the result a text, beside the answer."""
    parts = [SEARCH, FOUND, {"type": "text", "content": "done"}]
    found = bridged(output__messages=[{"role": "assistant", "parts": parts, "finish_reason": "stop"}])
    message = "llm.output_messages.0.message."
    assert found == {
        f"{message}role": "assistant",
        f"{message}tool_calls.0.tool_call.id": "s1",
        f"{message}tool_calls.0.tool_call.function.name": "web_search",
        f"{message}tool_calls.0.tool_call.function.arguments": '{"query":"otel"}',
        f"{message}contents.0.message_content.type": "text",
        f"{message}contents.0.message_content.text": '[{"url":"https://a"}]',
        f"{message}contents.1.message_content.type": "text",
        f"{message}contents.1.message_content.text": "done",
    }


def test_uploaded_files_are_shown_among_all_messages() -> None:
    """The list is complete: system instructions, images, calls and results of tools too."""
    found = bridged(
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
    assert found[f"{prefix}0.message.role"] == "system"
    assert found[f"{prefix}0.message.contents.0.message_content.text"] == "be kind"
    assert found[f"{prefix}1.message.contents.0.message_content.text"] == "[document file file_1]"
    assert found[f"{prefix}1.message.contents.1.message_content.image.image.url"] == "https://p/a.png"
    assert found[f"{prefix}1.message.contents.2.message_content.image.image.url"] == "data:image/gif;base64,AAAA"
    assert "audio/wav" in found[f"{prefix}1.message.contents.3.message_content.text"]
    assert found[f"{prefix}2.message.tool_calls.0.tool_call.function.arguments"] == '{"x":1}'
    assert (found[f"{prefix}3.message.content"], found[f"{prefix}3.message.tool_call_id"]) == ('{"y":2}', "t")


@pytest.mark.parametrize("text", ["hi", 'about "file" and "compaction"'])
def test_messages_that_phoenix_converts_are_left_to_it(text: str) -> None:
    """No key of OpenInference's lists is written, or Phoenix would read nothing but that list."""
    messages = [{"role": "user", "parts": [{"type": "text", "content": text}]}]
    assert bridged(input__messages=messages, output__messages=messages) == {}


def test_long_lists_are_left_to_the_convention() -> None:
    """A list that would crowd out the other attributes is not written in part."""
    assert write_messages("m", [{"role": "user", "parts": [SEARCH]}] * 100) == {}
    assert write_messages("m", None) == {}
    assert write_messages("m", [None, {"parts": 5}]) == {}
