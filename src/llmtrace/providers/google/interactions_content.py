"""Gemini interactions: what was asked and said, step by step."""

from __future__ import annotations

from typing import Any

from ..._read import peek, text, whole
from ...model import Asked, Blob, Message
from ...model.content_format import ContentFormat
from .._messages import (
    file_uri,
    function_tool,
    items,
    joined,
    parsed,
    plain,
    reasoning,
    server_call,
    server_result,
    tool_call,
    tool_result,
    words,
)

__all__ = ["INTERACTIONS_CONTENT", "RETRIEVE_CONTENT"]

_MEDIA = ("image", "audio", "video", "document")


def read_request(body: Any) -> Asked:
    asked = Asked()
    system = peek(body, "system_instruction")
    if isinstance(system, str):
        asked.system.append(words(system))
    given = peek(body, "input")
    if isinstance(given, str):
        asked.messages.append({"role": "user", "parts": [words(given)]})
    elif text(given, "type") is not None:
        _add(asked.messages, given)
    else:
        for item in items(body, "input", asked):
            _add(asked.messages, item)
    for tool in items(body, "tools", asked):
        kind = text(tool, "type") or "unknown"
        asked.tools.append(function_tool(tool, "parameters") if kind == "function" else {"type": kind, "name": kind})
    return asked


def _add(messages: list[Message], item: Any) -> None:
    """A step, or a piece of content, which is the user's."""
    if isinstance(item, str):
        joined(messages, "user", [words(item)])
        return
    kind = text(item, "type")
    if (role := text(item, "role")) is not None:  # turns, as older releases wrote them
        joined(messages, "assistant" if role == "model" else role, _contents(item))
    elif kind == "user_input":
        messages.append({"role": "user", "parts": _contents(item)})
    elif kind == "function_result":
        messages.append({"role": "tool", "parts": _step(item)})
    elif kind is not None:
        part = _content(item)
        joined(messages, "assistant" if part is None else "user", _step(item) if part is None else [part])


def _contents(item: Any) -> list[Any]:
    given = peek(item, "content")
    if isinstance(given, str):
        return [words(given)]
    return [part for each in items(item, "content") if (part := _content(each)) is not None]


def _content(item: Any) -> Any:
    kind = text(item, "type")
    if kind == "text":
        said = text(item, "text")
        return words(said) if said else None
    if kind not in _MEDIA:
        return None
    mime_type, data = text(item, "mime_type"), peek(item, "data")
    if isinstance(data, (str, bytes)) and data:
        return Blob(kind, mime_type, data)
    part = file_uri(text(item, "uri"), mime_type)
    return None if part is None else {**part, "modality": kind}


def _step(step: Any) -> list[Any]:
    """The parts of one step, whoever made it."""
    kind = text(step, "type") or ""
    if kind == "thought":
        thoughts = [text(each, "text") or "" for each in items(step, "summary")]
        return [reasoning("".join(thoughts))] if any(thoughts) else []
    if kind == "model_output":
        return _contents(step)
    if kind == "function_call":
        return [tool_call(text(step, "id"), text(step, "name"), parsed(peek(step, "arguments")) or {})]
    if kind == "function_result":
        return [tool_result(text(step, "call_id"), plain(peek(step, "result")))]
    if kind.endswith("_call"):
        name = kind.removesuffix("_call")
        return [server_call(text(step, "id"), name, name, _details(step, "arguments"))]
    if kind.endswith("_result"):
        return [server_result(text(step, "call_id"), kind.removesuffix("_result"), _details(step, "result"))]
    return []


def _details(step: Any, name: str) -> dict[str, Any]:
    value = peek(step, name)
    return {} if value is None else {name: plain(value)}


def read_response(answer: Any) -> list[Message]:
    steps = items(answer, "steps")
    if peek(answer, "steps") is None:
        steps = items(answer, "outputs")  # what older releases call them
    parts = [part for step in steps for part in (_step(step) or [_content(step)]) if part is not None]
    return [{"role": "assistant", "parts": parts, "finish_reason": text(answer, "status")}] if parts else []


class Joiner:
    """Joins the steps of a stream, each of which begins, grows and stops."""

    __slots__ = ("_said", "_status", "_steps")

    def __init__(self) -> None:
        self._steps: dict[int, dict[str, Any]] = {}
        self._said: dict[int, list[str]] = {}
        self._status: str | None = None

    def add(self, event: Any) -> None:
        kind = text(event, "event_type") or ""
        if kind.endswith(".start"):
            step = peek(event, "step") or peek(event, "content")
            self._at(event).update(plain(step) if step is not None else {})
        elif kind.endswith(".delta"):
            self._grow(self._at(event), peek(event, "delta"), self._said.setdefault(whole(event, "index") or 0, []))
        elif kind in ("interaction.completed", "interaction.complete"):
            self._status = text(peek(event, "interaction"), "status")

    def _at(self, event: Any) -> dict[str, Any]:
        return self._steps.setdefault(whole(event, "index") or 0, {})

    def _grow(self, step: dict[str, Any], delta: Any, said: list[str]) -> None:
        kind = text(delta, "type") or ""
        if kind == "text":
            said.append(text(delta, "text") or "")
        elif kind == "thought_summary":
            said.append(text(peek(delta, "content"), "text") or "")
        elif kind == "arguments_delta":
            said.append(text(delta, "arguments") or "")
        elif kind in _MEDIA:
            step.setdefault("media", []).append(plain(delta))
        elif kind.endswith(("_call", "_result")):
            step.update(plain(delta))

    def messages(self) -> list[Message]:
        parts: list[Any] = []
        for index in sorted(self._steps):
            step, said = self._steps[index], "".join(self._said.get(index, ()))
            kind = step.get("type")
            if said and kind == "thought":
                parts.append(reasoning(said))
            elif said and kind == "function_call":
                parts += _step({**step, "arguments": said})
            else:
                parts += [words(said)] if said else []
                parts += _step(step) or [_content(step)]
            parts += [_content(each) for each in step.get("media", ())]
        parts = [part for part in parts if part is not None]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


def read_nothing(_: Any) -> Asked:
    return Asked()


INTERACTIONS_CONTENT = ContentFormat(read_request, read_response, Joiner)
RETRIEVE_CONTENT = ContentFormat(read_nothing, read_response, Joiner)
