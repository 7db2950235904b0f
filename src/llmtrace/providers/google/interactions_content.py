"""Content of Gemini interactions, step by step."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    append_turn,
    file_uri_part,
    function_tool,
    iter_items,
    parse_arguments,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    text_part,
    to_json,
    tool_call_part,
    tool_result_part,
)

__all__ = ["INTERACTIONS_CONTENT", "RETRIEVE_INTERACTION_CONTENT"]

_MEDIA = ("image", "audio", "video", "document")


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    system = get(body, "system_instruction")
    if isinstance(system, str):
        request.system.append(text_part(system))
    value = get(body, "input")
    if isinstance(value, str):
        request.messages.append({"role": "user", "parts": [text_part(value)]})
    elif get_text(value, "type") is not None:
        _add(request.messages, value)
    else:
        for item in iter_items(body, "input", request):
            _add(request.messages, item)
    for tool in iter_items(body, "tools", request):
        kind = get_text(tool, "type") or "unknown"
        request.tools.append(function_tool(tool, "parameters") if kind == "function" else {"type": kind, "name": kind})
    return request


def _add(messages: list[Message], item: Any) -> None:
    """Add a step, or a piece of content, which belongs to the user."""
    if isinstance(item, str):
        append_turn(messages, "user", [text_part(item)])
        return
    kind = get_text(item, "type")
    if (role := get_text(item, "role")) is not None:  # a turn, as older releases send it
        append_turn(messages, "assistant" if role == "model" else role, _contents(item))
    elif kind == "user_input":
        messages.append({"role": "user", "parts": _contents(item)})
    elif kind == "function_result":
        messages.append({"role": "tool", "parts": _step(item)})
    elif kind is not None:
        part = _content(item)
        append_turn(messages, "assistant" if part is None else "user", _step(item) if part is None else [part])


def _contents(item: Any) -> list[Any]:
    content = get(item, "content")
    if isinstance(content, str):
        return [text_part(content)]
    return [part for block in iter_items(item, "content") if (part := _content(block)) is not None]


def _content(item: Any) -> Any:
    kind = get_text(item, "type")
    if kind == "text":
        text = get_text(item, "text")
        return text_part(text) if text else None
    if kind not in _MEDIA:
        return None
    mime_type, data = get_text(item, "mime_type"), get(item, "data")
    if isinstance(data, (str, bytes)) and data:
        return Blob(kind, mime_type, data)
    part = file_uri_part(get_text(item, "uri"), mime_type)
    return None if part is None else {**part, "modality": kind}


def _step(step: Any) -> list[Any]:
    """Return the parts of one step of the user, the model or a tool."""
    kind = get_text(step, "type") or ""
    if kind == "thought":
        thoughts = [get_text(thought, "text") or "" for thought in iter_items(step, "summary")]
        return [reasoning_part("".join(thoughts))] if any(thoughts) else []
    if kind == "model_output":
        return _contents(step)
    if kind == "function_call":
        return [
            tool_call_part(get_text(step, "id"), get_text(step, "name"), parse_arguments(get(step, "arguments")) or {})
        ]
    if kind == "function_result":
        return [tool_result_part(get_text(step, "call_id"), to_json(get(step, "result")))]
    if kind.endswith("_call"):
        name = kind.removesuffix("_call")
        return [server_tool_call_part(get_text(step, "id"), name, name, _details(step, "arguments"))]
    if kind.endswith("_result"):
        return [
            server_tool_result_part(get_text(step, "call_id"), kind.removesuffix("_result"), _details(step, "result"))
        ]
    return []


def _details(step: Any, name: str) -> dict[str, Any]:
    value = get(step, name)
    return {} if value is None else {name: to_json(value)}


def read_response(response: Any) -> list[Message]:
    steps = iter_items(response, "steps")
    if get(response, "steps") is None:
        steps = iter_items(response, "outputs")  # the name in older releases
    parts = [part for step in steps for part in (_step(step) or [_content(step)]) if part is not None]
    return [{"role": "assistant", "parts": parts, "finish_reason": get_text(response, "status")}] if parts else []


class InteractionContentAccumulator:
    """Accumulator of the steps of a stream, each of which starts, grows and stops."""

    __slots__ = ("_pieces", "_status", "_steps")

    def __init__(self) -> None:
        self._steps: dict[int, dict[str, Any]] = {}
        self._pieces: dict[int, list[str]] = {}
        self._status: str | None = None

    def add(self, event: Any) -> None:
        kind = get_text(event, "event_type") or ""
        if kind.endswith(".start"):
            step = get(event, "step") or get(event, "content")
            self._at(event).update(to_json(step) if step is not None else {})
        elif kind.endswith(".delta"):
            self._grow(
                self._at(event), get(event, "delta"), self._pieces.setdefault(get_count(event, "index") or 0, [])
            )
        elif kind in ("interaction.completed", "interaction.complete"):
            self._status = get_text(get(event, "interaction"), "status")

    def _at(self, event: Any) -> dict[str, Any]:
        return self._steps.setdefault(get_count(event, "index") or 0, {})

    def _grow(self, step: dict[str, Any], delta: Any, pieces: list[str]) -> None:
        kind = get_text(delta, "type") or ""
        if kind == "text":
            pieces.append(get_text(delta, "text") or "")
        elif kind == "thought_summary":
            pieces.append(get_text(get(delta, "content"), "text") or "")
        elif kind == "arguments_delta":
            pieces.append(get_text(delta, "arguments") or "")
        elif kind in _MEDIA:
            step.setdefault("media", []).append(to_json(delta))
        elif kind.endswith(("_call", "_result")):
            step.update(to_json(delta))

    def messages(self) -> list[Message]:
        parts: list[Any] = []
        for index in sorted(self._steps):
            step, text = self._steps[index], "".join(self._pieces.get(index, ()))
            kind = step.get("type")
            if text and kind == "thought":
                parts.append(reasoning_part(text))
            elif text and kind == "function_call":
                parts += _step({**step, "arguments": text})
            else:
                parts += [text_part(text)] if text else []
                parts += _step(step) or [_content(step)]
            parts += [_content(media) for media in step.get("media", ())]
        parts = [part for part in parts if part is not None]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


def read_nothing(_: Any) -> RequestContent:
    return RequestContent()


INTERACTIONS_CONTENT = ContentFormat(read_request, read_response, InteractionContentAccumulator)
RETRIEVE_INTERACTION_CONTENT = ContentFormat(read_nothing, read_response, InteractionContentAccumulator)
