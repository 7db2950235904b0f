"""Gemini interactions: what was asked and said, step by step."""

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

__all__ = ["INTERACTIONS_CONTENT", "RETRIEVE_CONTENT"]

_MEDIA = ("image", "audio", "video", "document")


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    system = get(body, "system_instruction")
    if isinstance(system, str):
        asked.system.append(text_part(system))
    given = get(body, "input")
    if isinstance(given, str):
        asked.messages.append({"role": "user", "parts": [text_part(given)]})
    elif get_text(given, "type") is not None:
        _add(asked.messages, given)
    else:
        for item in iter_items(body, "input", asked):
            _add(asked.messages, item)
    for tool in iter_items(body, "tools", asked):
        kind = get_text(tool, "type") or "unknown"
        asked.tools.append(function_tool(tool, "parameters") if kind == "function" else {"type": kind, "name": kind})
    return asked


def _add(messages: list[Message], item: Any) -> None:
    """A step, or a piece of content, which is the user's."""
    if isinstance(item, str):
        append_turn(messages, "user", [text_part(item)])
        return
    kind = get_text(item, "type")
    if (role := get_text(item, "role")) is not None:  # turns, as older releases wrote them
        append_turn(messages, "assistant" if role == "model" else role, _contents(item))
    elif kind == "user_input":
        messages.append({"role": "user", "parts": _contents(item)})
    elif kind == "function_result":
        messages.append({"role": "tool", "parts": _step(item)})
    elif kind is not None:
        part = _content(item)
        append_turn(messages, "assistant" if part is None else "user", _step(item) if part is None else [part])


def _contents(item: Any) -> list[Any]:
    given = get(item, "content")
    if isinstance(given, str):
        return [text_part(given)]
    return [part for each in iter_items(item, "content") if (part := _content(each)) is not None]


def _content(item: Any) -> Any:
    kind = get_text(item, "type")
    if kind == "text":
        said = get_text(item, "text")
        return text_part(said) if said else None
    if kind not in _MEDIA:
        return None
    mime_type, data = get_text(item, "mime_type"), get(item, "data")
    if isinstance(data, (str, bytes)) and data:
        return Blob(kind, mime_type, data)
    part = file_uri_part(get_text(item, "uri"), mime_type)
    return None if part is None else {**part, "modality": kind}


def _step(step: Any) -> list[Any]:
    """The parts of one step, whoever made it."""
    kind = get_text(step, "type") or ""
    if kind == "thought":
        thoughts = [get_text(each, "text") or "" for each in iter_items(step, "summary")]
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


def read_response(answer: Any) -> list[Message]:
    steps = iter_items(answer, "steps")
    if get(answer, "steps") is None:
        steps = iter_items(answer, "outputs")  # what older releases call them
    parts = [part for step in steps for part in (_step(step) or [_content(step)]) if part is not None]
    return [{"role": "assistant", "parts": parts, "finish_reason": get_text(answer, "status")}] if parts else []


class InteractionContentAccumulator:
    """Joins the steps of a stream, each of which begins, grows and stops."""

    __slots__ = ("_said", "_status", "_steps")

    def __init__(self) -> None:
        self._steps: dict[int, dict[str, Any]] = {}
        self._said: dict[int, list[str]] = {}
        self._status: str | None = None

    def add(self, event: Any) -> None:
        kind = get_text(event, "event_type") or ""
        if kind.endswith(".start"):
            step = get(event, "step") or get(event, "content")
            self._at(event).update(to_json(step) if step is not None else {})
        elif kind.endswith(".delta"):
            self._grow(self._at(event), get(event, "delta"), self._said.setdefault(get_count(event, "index") or 0, []))
        elif kind in ("interaction.completed", "interaction.complete"):
            self._status = get_text(get(event, "interaction"), "status")

    def _at(self, event: Any) -> dict[str, Any]:
        return self._steps.setdefault(get_count(event, "index") or 0, {})

    def _grow(self, step: dict[str, Any], delta: Any, said: list[str]) -> None:
        kind = get_text(delta, "type") or ""
        if kind == "text":
            said.append(get_text(delta, "text") or "")
        elif kind == "thought_summary":
            said.append(get_text(get(delta, "content"), "text") or "")
        elif kind == "arguments_delta":
            said.append(get_text(delta, "arguments") or "")
        elif kind in _MEDIA:
            step.setdefault("media", []).append(to_json(delta))
        elif kind.endswith(("_call", "_result")):
            step.update(to_json(delta))

    def messages(self) -> list[Message]:
        parts: list[Any] = []
        for index in sorted(self._steps):
            step, said = self._steps[index], "".join(self._said.get(index, ()))
            kind = step.get("type")
            if said and kind == "thought":
                parts.append(reasoning_part(said))
            elif said and kind == "function_call":
                parts += _step({**step, "arguments": said})
            else:
                parts += [text_part(said)] if said else []
                parts += _step(step) or [_content(step)]
            parts += [_content(each) for each in step.get("media", ())]
        parts = [part for part in parts if part is not None]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


def read_nothing(_: Any) -> RequestContent:
    return RequestContent()


INTERACTIONS_CONTENT = ContentFormat(read_request, read_response, InteractionContentAccumulator)
RETRIEVE_CONTENT = ContentFormat(read_nothing, read_response, InteractionContentAccumulator)
