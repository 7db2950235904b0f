"""Content of the OpenAI dialects that no recording covers."""

from __future__ import annotations

from base64 import b64encode
from types import SimpleNamespace
from typing import Any

import pytest

from llmtrace.model import Blob, Message
from llmtrace.model.content_format import ContentFormat
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.chat_content import CHAT_CONTENT, COMPLETIONS_CONTENT
from llmtrace.providers.openai.media import IMAGES, MODERATIONS, TRANSCRIPTIONS
from llmtrace.providers.openai.responses_content import RESPONSES_CONTENT

PICTURE = {"type": "uri", "modality": "image", "uri": "https://p/a.png"}


def words(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


def joined(wire: ContentFormat, *events: Any) -> list[Message]:
    assert wire.accumulator is not None
    joiner = wire.accumulator()
    for event in events:
        joiner.add(event)
    return joiner.messages()


@pytest.mark.parametrize(
    ("block", "part"),
    [
        ("hi", words("hi")),
        ({"type": "refusal", "refusal": "no"}, words("no")),
        ({"type": "output_text", "text": None}, None),
        ({"type": "thinking", "thinking": [{"text": "a"}, {"text": "b"}, {}]}, {"type": "reasoning", "content": "ab"}),
        ({"type": "image_url", "image_url": {"url": "https://p/a.png"}}, PICTURE),
        ({"type": "image_url", "image_url": "data:image/gif;base64,aGk="}, Blob("image", "image/gif", "aGk=")),
        ({"type": "image_url", "image_url": {"url": "DATA:nothing"}}, None),
        ({"type": "image_url"}, None),
        ({"type": "input_image", "image_url": "https://p/a.png"}, PICTURE),
        ({"type": "input_image", "file_id": "f"}, {"type": "file", "modality": "image", "file_id": "f"}),
        ({"type": "input_audio", "input_audio": {"format": "wav", "data": "aGk="}}, Blob("audio", "audio/wav", "aGk=")),
        ({"type": "input_audio", "input_audio": {"data": b"hi"}}, Blob("audio", None, b"hi")),
        ({"type": "input_audio", "input_audio": {}}, None),
        ({"type": "file", "file": {"file_id": "f"}}, {"type": "file", "modality": "document", "file_id": "f"}),
        (
            {"type": "input_file", "file_url": "https://p/b"},
            {"type": "uri", "modality": "document", "uri": "https://p/b"},
        ),
        ({"type": "file", "file": {"file_data": "aGk="}}, Blob("document", None, "aGk=")),
        (
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk="}},
            Blob("document", "application/pdf", "aGk="),
        ),
        ({"type": "input_file", "filename": "a.pdf"}, None),
        ({"type": "novel", "of": (1,)}, {"type": "generic", "generic_type": "novel", "of": [1]}),
        ({"of": "no type"}, None),
    ],
)
def test_content_parts_of_every_type_are_read(block: Any, part: Any) -> None:
    """Chat and responses give the same parts for text, images, audio and files; unknown types are kept."""
    expected = [] if part is None else [part]
    received = CHAT_CONTENT.request({"messages": [{"content": [block]}]})
    assert received.messages == [{"role": "user", "parts": expected}]
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in ("thinking", "image_url", "file"):
        text = RESPONSES_CONTENT.request({"input": [{"role": "user", "content": [block]}]})
        assert text.messages == [{"role": "user", "parts": expected}]


def test_chat_messages_of_every_type_are_read() -> None:
    """Names, refusals, audio, legacy functions, custom tools and tool results in parts are read."""
    call = {"id": "c", "type": "custom", "custom": {"name": "sql", "input": "SELECT 1"}}
    result = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    received = CHAT_CONTENT.request(
        {
            "messages": [
                {"role": "user", "name": "bob", "content": "hi"},
                {"role": "assistant", "refusal": "no", "audio": {"id": "a1"}, "tool_calls": [call, {"function": {}}]},
                {"role": "tool", "tool_call_id": "c", "content": result},
                {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": '{"q": 1}'}},
                {"role": "function", "name": "f", "content": None},
                {"role": "tool", "content": [{"type": "image_url", "image_url": "https://p/a.png"}]},
            ],
            "functions": [{"name": "f", "description": "finds", "parameters": {"type": "object"}}],
            "tools": [{"type": "custom", "custom": {"name": "sql"}}, {"type": "function", "name": "bare"}],
        }
    )
    assert received.messages == [
        {"role": "user", "parts": [words("hi")], "name": "bob"},
        {
            "role": "assistant",
            "parts": [
                words("no"),
                {"type": "file", "modality": "audio", "file_id": "a1"},
                {"type": "tool_call", "name": "sql", "arguments": "SELECT 1", "id": "c"},
            ],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": "ab", "id": "c"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "name": "f", "arguments": {"q": 1}}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": ""}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "response": [PICTURE]}]},
    ]
    assert received.tools == [
        {"type": "custom", "name": "sql"},
        {"type": "function", "name": "bare"},
        {"type": "function", "name": "f", "description": "finds", "parameters": {"type": "object"}},
    ]


@pytest.mark.parametrize("form", [dict, SimpleNamespace], ids=["mappings", "objects"])
def test_chat_stream_pieces_are_joined(form: Any) -> None:
    """Pieces of blocks, reasoning, audio, refusals and functions are joined; duplicated reasoning is read once."""

    def chunk(**delta: Any) -> Any:
        return form(choices=[form(index=0, delta=form(**delta), text=None, finish_reason=None)])

    first, second = (b64encode(sound).decode() for sound in (b"hi", b"ho"))
    blocks = [
        {"type": "thinking", "thinking": [{"text": "b"}]},
        {"type": "text", "text": "block"},
        {"type": "image_url", "image_url": "https://p/a.png"},
        {},
    ]
    (message,) = joined(
        CHAT_CONTENT,
        chunk(role="assistant", reasoning_content="a", reasoning="a"),
        chunk(content=blocks),
        chunk(content=" end"),
        chunk(refusal="no"),
        chunk(audio={"data": first, "transcript": "hi"}),
        chunk(audio={"data": second, "transcript": " ho"}),
        chunk(function_call={"name": "f"}),
        chunk(function_call={"arguments": '{"q": 1}'}),
        chunk(tool_calls=[{"id": "c", "custom": {"name": "sql", "input": "SELECT 1"}}]),
        form(choices=[form(index=0, delta=None, text=None, finish_reason="stop")]),
    )
    assert message["parts"] == [
        {"type": "reasoning", "content": "ab"},
        words("block end"),
        words("no"),
        PICTURE,
        Blob("audio", None, b"hiho"),
        words("hi ho"),
        {"type": "tool_call", "name": "sql", "arguments": "SELECT 1", "id": "c"},
        {"type": "tool_call", "name": "f", "arguments": {"q": 1}},
    ]
    assert message["finish_reason"] == "stop"


@pytest.mark.parametrize("pieces", [("aGl", "obw=="), ("aGk=", "x")], ids=["cut anywhere", "no base64"])
def test_invalid_base64_audio_is_joined_as_text(pieces: tuple[str, str]) -> None:
    """Audio pieces that are not base64 are joined as they are; a plain response has its audio in one piece."""
    deltas = [{"choices": [{"delta": {"audio": {"data": piece}}}]} for piece in pieces]
    assert joined(CHAT_CONTENT, *deltas)[0]["parts"] == [Blob("audio", None, "".join(pieces))]
    audio = {"id": "a", "data": "aGk=", "transcript": "hi"}
    (message,) = CHAT_CONTENT.response({"choices": [{"message": {"audio": audio}}]})
    assert message["parts"] == [Blob("audio", None, "aGk="), words("hi")]


def test_completion_prompts_become_messages() -> None:
    """Every text prompt becomes a message; a prompt of token numbers does not."""
    assert [message["parts"] for message in COMPLETIONS_CONTENT.request({"prompt": ["a", [1, 2], "b"]}).messages] == [
        [words("a")],
        [words("b")],
    ]
    assert COMPLETIONS_CONTENT.request({"prompt": [1, 2]}).messages == []
    chunks = ({"choices": [{"text": text, "finish_reason": reason}]} for text, reason in (("a", None), ("b", "length")))
    assert joined(COMPLETIONS_CONTENT, *chunks) == [
        {"role": "assistant", "parts": [words("ab")], "finish_reason": "length"}
    ]


def test_responses_request_content_is_read() -> None:
    """Instructions, prompt variables and the outputs of tools are read."""
    received = RESPONSES_CONTENT.request(
        {
            "instructions": [{"role": "developer", "content": "Be kind."}],
            "prompt": {
                "id": "p",
                "variables": {
                    "city": "Bern",
                    "map": {"type": "input_image", "file_id": "f"},
                    "note": {"type": "input_text", "text": "hi"},
                    "data": {"type": "input_file", "file_data": "aGk="},
                },
            },
            "input": [
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
                {"type": "compaction", "id": "k", "encrypted_content": "x"},
                {"type": "item_reference", "id": "m"},
                {"type": "custom_tool_call", "call_id": "c", "name": "sql", "input": "SELECT 1"},
                {"type": "custom_tool_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "1"}]},
                {"type": "function_call_output", "call_id": "d", "output": {"found": 1}},
                {"type": "tool_search_output", "call_id": "s", "status": "completed", "tools": ["a"]},
                {"type": "image_generation_call", "id": "i", "status": "completed", "result": "aGk="},
            ],
            "tools": [{"type": "mcp", "server_label": "docs"}, {"type": "web_search"}],
        }
    )
    assert received.system == [words("Be kind.")]
    assert received.variables == {"city": "Bern", "map": "f", "note": "hi"}
    assert received.tools == [{"type": "mcp", "name": "docs"}, {"type": "web_search", "name": "web_search"}]
    reported, first, second, served = received.messages
    assert reported == {
        "role": "assistant",
        "parts": [
            words("no"),
            {"type": "compaction", "id": "k"},
            {"type": "tool_call", "name": "sql", "arguments": "SELECT 1", "id": "c"},
        ],
    }
    assert first["parts"] == [{"type": "tool_call_response", "response": [words("1")], "id": "c"}]
    assert second["parts"] == [{"type": "tool_call_response", "response": {"found": 1}, "id": "d"}]
    searched = {"type": "tool_search", "tools": ["a"]}
    drawn = {"type": "image_generation"}
    assert served["parts"] == [
        {"type": "server_tool_call_response", "server_tool_call_response": searched, "id": "s"},
        {"type": "server_tool_call", "name": "image_generation", "server_tool_call": drawn, "id": "i"},
        Blob("image", "image/png", "aGk="),
    ]


def delta(kind: str, piece: Any, index: int = 0) -> dict[str, Any]:
    return {"type": f"response.{kind}.delta", "delta": piece, "output_index": index}


def test_cut_responses_stream_keeps_items_and_pieces() -> None:
    """A cut stream has its finished items and the pieces of the others."""
    done = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "whole"}]}
    call = {"type": "function_call", "call_id": "c", "name": "find", "arguments": ""}
    events = [
        delta("reasoning_summary_text", "thinks", 0),
        delta("output_text", "whole", 1),
        {"type": "response.output_item.done", "output_index": 1, "item": done},
        {"type": "response.output_item.added", "output_index": 2, "item": call},
        delta("function_call_arguments", '{"q"', 2),
        delta("function_call_arguments", ": 1}", 2),
        delta("refusal", "n", 3),
        delta("refusal", "o", 3),
        delta("output_text", None, 4),
        {"type": None},
    ]
    (message,) = joined(RESPONSES_CONTENT, *events)
    assert message["parts"] == [
        {"type": "reasoning", "content": "thinks"},
        words("whole"),
        {"type": "tool_call", "name": "find", "arguments": {"q": 1}, "id": "c"},
        words("no"),
    ]
    assert message["finish_reason"] is None
    assert joined(RESPONSES_CONTENT, {"type": "response.created", "response": {}}) == []


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"type": "response.completed", "response": {"status": "completed"}}, "tool_call"),
        ({"type": "response.failed", "response": {"status": "failed"}}, "error"),
        ({"type": "response.incomplete", "response": {"status": "incomplete"}}, "incomplete"),
    ],
)
def test_responses_stream_without_final_output_keeps_pieces(end: dict[str, Any], reason: str) -> None:
    """The pieces are the content if the end event has no output, and the end event has the reason."""
    call = {"type": "function_call", "call_id": "c", "name": "find", "arguments": "{}"}
    (message,) = joined(RESPONSES_CONTENT, {"type": "response.output_item.done", "output_index": 0, "item": call}, end)
    assert message["parts"] == [{"type": "tool_call", "name": "find", "arguments": {}, "id": "c"}]
    assert message["finish_reason"] == reason


def test_images_are_read_as_blobs_or_links() -> None:
    """Images have the requested format or a link; in a stream the last event has the complete image."""
    answer = {"output_format": "webp", "data": [{"b64_json": "aGk="}, {"url": "https://p/a.png"}, {}]}
    (message,) = IMAGES.content.response(answer)
    assert message["parts"] == [Blob("image", "image/webp", "aGk="), PICTURE]
    assert IMAGES.content.response({"data": []}) == []
    partial = {"type": "image_generation.partial_image", "b64_json": "aG8="}
    for kind in ("image_generation", "image_edit"):
        (message,) = joined(IMAGES.content, partial, {"type": f"{kind}.completed", "b64_json": "aGk="})
        assert message["parts"] == [Blob("image", "image/png", "aGk=")]


def test_transcript_is_recorded_once() -> None:
    """A transcript is read once: from its end event, or the pieces received."""
    pieces = [{"type": "transcript.text.delta", "delta": piece} for piece in ("a", "b")]
    assert joined(TRANSCRIPTIONS.content, *pieces) == [
        {"role": "assistant", "parts": [words("ab")], "finish_reason": None}
    ]
    (message,) = joined(TRANSCRIPTIONS.content, *pieces, {"type": "transcript.text.done", "text": "ab!"})
    assert (message["parts"], message["finish_reason"]) == ([words("ab!")], "stop")
    assert TRANSCRIPTIONS.content.response("as text\n")[0]["parts"] == [words("as text\n")]
    assert TRANSCRIPTIONS.content.request({"file": b"", "model": "m"}).messages == []


def test_moderation_input_is_one_message() -> None:
    """The input is one message for a text, several texts, or parts with images."""
    picture = {"type": "image_url", "image_url": {"url": "https://p/a.png"}}
    received = MODERATIONS.content.request({"input": ["a", {"type": "text", "text": "b"}, picture, {"type": "novel"}]})
    assert received.messages == [{"role": "user", "parts": [words("a"), words("b"), PICTURE]}]
    assert MODERATIONS.content.request({"input": "a"}).messages == [{"role": "user", "parts": [words("a")]}]
    assert MODERATIONS.content.request({"input": []}).messages == []


IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}


@pytest.mark.parametrize("image", [IMAGE, {"image_url": IMAGE["image_url"]}, "data:image/png;base64,AAAA"])
def test_gateway_images_become_parts(image: Any) -> None:
    """Gateways send images as ``message.images`` and ``delta.images``; such a chunk has content."""
    blob = Blob("image", "image/png", "AAAA")
    message = {"role": "assistant", "content": "look", "images": [image]}
    (plain,) = CHAT_CONTENT.response({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert plain["parts"] == [{"type": "text", "content": "look"}, blob]
    (received,) = CHAT_CONTENT.request({"messages": [message]}).messages
    assert received["parts"] == plain["parts"]
    chunk = {"choices": [{"index": 0, "delta": {"content": "", "images": [image]}}]}
    assert CHAT_CONTENT.accumulator is not None
    joiner = CHAT_CONTENT.accumulator()
    joiner.add(chunk)
    (streamed,) = joiner.messages()
    assert streamed["parts"] == [blob]
    assert CHAT.accumulator is not None
    assert CHAT.accumulator().add(chunk)
