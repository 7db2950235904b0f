"""OpenAI realtime sessions: one response of a session, whose usage is split by modality.

Of its content, texts and transcripts are recorded. Audio that the model speaks is never kept.
"""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list, put
from ...model import Blob, Message, PromptUse, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._messages import (
    append_turn,
    iter_items,
    media_part,
    text_part,
    text_parts,
    tool_call_part,
    tool_definition,
    tool_result_part,
)
from .._usage import Reported

__all__ = ["REALTIME", "accepts_request", "merge_settings", "response_id"]

_FINAL_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled"})
_SETTINGS = ("instructions", "tools", "output_modalities", "modalities", "max_output_tokens", "reasoning", "prompt")
"""Settings of a session that a request may override."""
_OTHER_ERRORS = ("input_audio_", "output_audio_", "item_", "conversation_item_", "session_")
"""Prefixes of the error codes of events that request no response."""


def merge_settings(session: Any, event: Any) -> dict[str, Any]:
    """Return a request, or a response that the server started, with the settings of its session."""
    body = {name: value for name in _SETTINGS if (value := get(session, name)) is not None}
    parameters = get(event, "response") if get(event, "type") == "response.create" else event
    for name in (*_SETTINGS, "input", "metadata", "tool_choice", "parallel_tool_calls"):
        if (value := get(parameters, name)) is not None:
            body[name] = value
    return body


def response_id(event: Any) -> str | None:
    """Return the id of the response that an event belongs to."""
    return get_text(event, "response_id") or get_text(get(event, "response"), "id")


def accepts_request(event: Any, request: Any) -> bool:
    """Return True if an event starts the response to a request, or rejects the request."""
    error = get(event, "error")
    if error is None:
        metadata = get(get(request, "response"), "metadata")
        return not metadata or metadata == get(get(event, "response"), "metadata")
    own, cause = get_text(request, "event_id"), get_text(error, "event_id")
    if own is not None or cause is not None:
        return own == cause
    # Without ids the error may be that of another event, such as an empty audio buffer.
    parameter, code = get_text(error, "param") or "", get_text(error, "code") or ""
    return parameter.startswith("response") or (not parameter and not code.startswith(_OTHER_ERRORS))


def read_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    limit = get_count(body, "max_output_tokens")  # it may be "inf"
    put(params, {"max_tokens": limit, "reasoning.level": get_text(get(body, "reasoning"), "effort")})
    prompt = get(body, "prompt")
    prompt_id = get_text(prompt, "id")
    modalities = [*iter_list(body, "output_modalities"), *iter_list(body, "modalities")]
    return Request(
        operation="chat",
        params=params,
        output_type="speech" if "audio" in modalities else "text" if modalities else None,
        prompt=None if prompt_id is None else PromptUse(prompt_id, get_text(prompt, "version")),
    )


def read_response(response: Any) -> Response:
    status, details = get_text(response, "status"), get(response, "status_details")
    error = get(details, "error")
    reason = get_text(details, "reason") if status == "incomplete" else status
    if status == "completed":
        called = any(get_text(item, "type") == "function_call" for item in iter_list(response, "output"))
        reason = "tool_call" if called else "stop"
    return Reported(get(response, "usage")).fill_openai(
        Response(
            id=get_text(response, "id"),
            finish_reasons=(reason,) if reason is not None and status in _FINAL_STATUSES else (),
            status=status,
            conversation_id=get_text(response, "conversation_id"),
            error=None if error is None else get_text(error, "code") or get_text(error, "type") or "error",
            failed=status == "failed",
        )
    )


class RealtimeAccumulator:
    """Accumulator of the events of one response, and of the session that it belongs to."""

    __slots__ = ("_model", "_response", "_saw_content", "ended")

    def __init__(self) -> None:
        self._response: Any = None
        self._model: str | None = None
        self.ended: bool = False
        self._saw_content = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or ""
        if kind.endswith(".delta"):
            self._saw_content = True
        elif kind in ("response.created", "response.done"):
            self._response = get(event, "response")
            self.ended = kind == "response.done"
        elif kind.startswith("session."):
            self._model = get_text(get(event, "session"), "model")
        return self._saw_content

    def result(self) -> Response:
        response = read_response(self._response)
        response.model, response.complete = self._model, self.ended
        return response


_DELTAS = frozenset(
    {
        "response.output_text.delta",
        "response.output_audio_transcript.delta",
        "response.text.delta",  # beta
        "response.audio_transcript.delta",
    }
)


def read_content(body: Any) -> RequestContent:
    """Read the items that a request brings itself; those of the conversation are not repeated in it."""
    request = RequestContent(system=text_parts(body, "instructions"))
    request.messages += _messages(iter_items(body, "input", request), "user")
    request.tools += map(tool_definition, iter_items(body, "tools", request))
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


def read_output(response: Any) -> list[Message]:
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
        if messages := read_output(self._response):
            return messages
        parts = [text_part("".join(self._pieces[index])) for index in sorted(self._pieces)]
        return [_message(parts, get_text(self._response, "status"))] if parts else []


_CONTENT = ContentFormat(read_content, read_output, RealtimeContentAccumulator)
REALTIME = WireFormat(read_request, read_response, RealtimeAccumulator, _CONTENT)
