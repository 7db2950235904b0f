"""Content of Anthropic's messages and legacy completions that no recording covers."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model import Blob
from llmtrace.providers.anthropic.messages import COMPLETE, MESSAGES
from llmtrace.providers.anthropic.messages_content import COMPLETE_CONTENT, MESSAGES_CONTENT


def words(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def document(**source: Any) -> dict[str, Any]:
    return {"type": "document", "source": source}


def uri(modality: str, **more: str) -> dict[str, Any]:
    return {"type": "uri", "modality": modality, "uri": "https://p/a", **more}


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("hi", words("hi")),
        ({"type": "text", "text": None}, None),
        ({"type": "redacted_thinking", "data": "x"}, None),
        ({"type": "thinking", "thinking": "", "signature": "x"}, None),
        (
            document(type="base64", media_type="application/pdf", data="aGk="),
            Blob("document", "application/pdf", "aGk="),
        ),
        (document(type="base64", media_type="application/pdf"), None),
        (document(type="url", url="https://p/a"), uri("document")),
        (document(type="url", url="https://p/a", media_type="text/plain"), uri("document", mime_type="text/plain")),
        (document(type="file", file_id="f"), {"type": "file", "modality": "document", "file_id": "f"}),
        (
            {"type": "image", "source": {"type": "file", "file_id": "f", "media_type": "image/png"}},
            {"type": "file", "modality": "image", "file_id": "f", "mime_type": "image/png"},
        ),
        (document(type="text", media_type="text/plain", data="plain"), words("plain")),
        (document(type="content", content="said"), words("said")),
        (
            document(type="content", content=[{"type": "text", "text": "a"}]),
            {"type": "document", "content": [words("a")]},
        ),
        (document(type="novel"), None),
        ({"type": "image", "source": None}, None),
        ({"type": "container_upload", "file_id": "f"}, {"type": "file", "modality": "document", "file_id": "f"}),
        ({"type": "novel", "of": 1}, {"type": "generic", "generic_type": "novel", "of": 1}),
        ({"of": "no type"}, None),
    ],
)
def test_request_blocks_of_every_type_become_parts(block: Any, part: Any) -> None:
    """Texts, documents from any source and unknown types become parts; blocks without content are skipped."""
    requested = MESSAGES_CONTENT.request({"messages": [{"role": "user", "content": [block]}]})
    assert requested.messages == [{"role": "user", "parts": [] if part is None else [part]}]


def test_compaction_in_a_stream_is_recorded() -> None:
    """The summary of a compaction and a search result that is sent with its block are complete."""
    assert MESSAGES_CONTENT.accumulator is not None
    accumulator = MESSAGES_CONTENT.accumulator()
    found = {"type": "web_search_tool_result", "tool_use_id": "s", "content": [{"url": "u", "encrypted_content": "x"}]}
    for event in (
        {"type": "message_start", "message": {}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "compaction", "content": None}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "compaction_delta", "content": "all of it"}},
        {"type": "content_block_start", "index": 1, "content_block": found},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "message_delta", "delta": {"stop_reason": "compaction"}},
    ):
        accumulator.add(event)
    searched = {"type": "web_search", "content": [{"url": "u"}]}
    assert accumulator.messages() == [
        {
            "role": "assistant",
            "parts": [
                {"type": "compaction", "content": "all of it"},
                {"type": "server_tool_call_response", "server_tool_call_response": searched, "id": "s"},
                words("a"),
            ],
            "finish_reason": "compaction",
        }
    ]
    assert MESSAGES_CONTENT.accumulator().messages() == []
    assert MESSAGES_CONTENT.response({"content": []}) == []


def test_error_event_gives_the_vendors_error_type() -> None:
    """The error is the vendor's error type, if the event has one."""
    assert MESSAGES.accumulator is not None
    for error, reported in (({"type": "overloaded_error"}, "overloaded_error"), ({}, "error")):
        events = MESSAGES.accumulator()
        events.add({"type": "error", "error": error})
        assert (events.result().failed, events.result().error) == (True, reported)


def test_legacy_completion_gives_prompt_and_text() -> None:
    """Prompt and completion are read; a stream ends with the event that has the stop reason."""
    request = COMPLETE.request({"model": "claude-2.1", "prompt": "Hi", "max_tokens_to_sample": 9, "stream": True})
    assert (request.operation, request.stream, request.params["max_tokens"]) == ("text_completion", True, 9)
    assert "max_tokens" not in COMPLETE.request({"prompt": "Hi"}).params
    assert COMPLETE_CONTENT.request({"prompt": "Hi"}).messages == [{"role": "user", "parts": [words("Hi")]}]
    assert COMPLETE_CONTENT.request({}).messages == []
    assert COMPLETE_CONTENT.response({"completion": ""}) == []

    assert COMPLETE.accumulator is not None
    assert COMPLETE_CONTENT.accumulator is not None
    counts, accumulator = COMPLETE.accumulator(), COMPLETE_CONTENT.accumulator()
    audio_text, ended = [], []
    for event in (
        {"type": "ping"},
        {"type": "completion", "id": "c", "model": "claude-2.1", "completion": " He", "stop_reason": None},
        {"type": "completion", "id": "c", "model": "claude-2.1", "completion": "llo", "stop_reason": "stop_sequence"},
    ):
        audio_text.append(counts.add(event))
        ended.append(counts.ended)
        accumulator.add(event)
    assert (audio_text, ended) == ([False, True, True], [False, False, True])
    result = counts.result()
    assert (result.id, result.model, result.finish_reasons, result.complete) == (
        "c",
        "claude-2.1",
        ("stop_sequence",),
        True,
    )
    assert accumulator.messages() == [
        {"role": "assistant", "parts": [words(" Hello")], "finish_reason": "stop_sequence"}
    ]
