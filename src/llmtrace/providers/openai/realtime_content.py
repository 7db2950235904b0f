"""Content of OpenAI realtime responses: texts and transcripts. Audio that the model speaks is never kept."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    append_turn,
    function_tool,
    iter_items,
    media_part,
    text_part,
    tool_call_part,
    tool_result_part,
)

__all__ = ["REALTIME_CONTENT"]

_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.output_audio_transcript.delta",
        "response.text.delta",  # beta
        "response.audio_transcript.delta",
    }
)


def read_request(body: Any) -> RequestContent:
    """Read the items that a request brings itself; those of the conversation are not repeated in it."""
    request = RequestContent()
    if (instructions := get_text(body, "instructions")) is not None:
        request.system.append(text_part(instructions))
    request.messages += _messages(iter_items(body, "input", request), "user")
    for tool in iter_items(body, "tools", request):
        kind = get_text(tool, "type") or "function"
        definition = function_tool(tool, "parameters") if kind == "function" else {"type": kind, "name": kind}
        request.tools.append(definition)
    return request


def _messages(items: Any, default: str) -> list[Message]:
    messages: list[Message] = []
    for item in items:
        kind = get_text(item, "type")
        if kind == "message":
            messages.append({"role": get_text(item, "role") or default, "parts": _parts(item)})
        elif kind == "function_call":
            call = tool_call_part(get_text(item, "call_id"), get_text(item, "name"), get(item, "arguments"))
            append_turn(messages, "assistant", [call])
        elif kind == "function_call_output":
            result = tool_result_part(get_text(item, "call_id"), get(item, "output"))
            messages.append({"role": "tool", "parts": [result]})
    return messages


def _parts(item: Any) -> list[Any]:
    return [part for block in iter_items(item, "content") if (part := _part(block)) is not None]


def _part(block: Any) -> Any:
    text = get_text(block, "text") or get_text(block, "transcript")
    if text is not None:
        return text_part(text)
    match get_text(block, "type"):
        case "input_image":
            return media_part("image", get(block, "image_url"))
        case "input_audio" if (audio := get_text(block, "audio")) is not None:
            return Blob("audio", None, audio)
    return None


def read_response(response: Any) -> list[Message]:
    parts = [part for message in _messages(iter_items(response, "output"), "assistant") for part in message["parts"]]
    return [_message(parts, get_text(response, "status"))] if parts else []


def _message(parts: list[Any], status: str | None) -> Message:
    called = any(isinstance(part, dict) and part["type"] == "tool_call" for part in parts)
    reason = ("tool_call" if called else "stop") if status == "completed" else status
    return {"role": "assistant", "parts": parts, "finish_reason": reason}


class RealtimeContentAccumulator:
    """Accumulator of the content of a response; its last event carries the complete output."""

    __slots__ = ("_pieces", "_response")

    def __init__(self) -> None:
        self._response: Any = None
        self._pieces: dict[int, list[str]] = {}

    def add(self, event: Any) -> None:
        kind = get_text(event, "type")
        if kind in _DELTAS:
            if (piece := get_text(event, "delta")) is not None:
                self._pieces.setdefault(get_count(event, "output_index") or 0, []).append(piece)
        elif kind == "response.done":
            self._response = get(event, "response")

    def messages(self) -> list[Message]:
        if messages := read_response(self._response):
            return messages
        parts = [text_part("".join(self._pieces[index])) for index in sorted(self._pieces)]
        return [_message(parts, get_text(self._response, "status"))] if parts else []


REALTIME_CONTENT = ContentFormat(read_request, read_response, RealtimeContentAccumulator)
