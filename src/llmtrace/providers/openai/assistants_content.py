"""OpenAI assistants: the instructions and messages of a run, and what a streamed run says.

A run that is not streamed says nothing itself: its messages are asked for elsewhere.
"""

from __future__ import annotations

from typing import Any

from ..._read import each, peek, text, whole
from ...model import Asked, Message
from ...model.content_format import ContentFormat
from .._messages import file_part, function_tool, items, media, parsed, server_call, tool_call, tool_result, words

__all__ = ["RUN_CONTENT", "RUN_RETRIEVE_CONTENT"]


def read_request(body: Any) -> Asked:
    asked = Asked()
    for name in ("instructions", "additional_instructions"):
        if (said := text(body, name)) is not None:
            asked.system.append(words(said))
    for source, name in ((peek(body, "thread"), "messages"), (body, "additional_messages")):
        for message in items(source, name, asked):
            asked.messages.append({"role": text(message, "role") or "user", "parts": _contents(message)})
    for output in items(body, "tool_outputs", asked):
        result = tool_result(text(output, "tool_call_id"), parsed(peek(output, "output")))
        asked.messages.append({"role": "tool", "parts": [result]})
    for tool in items(body, "tools", asked):
        function, kind = peek(tool, "function"), text(tool, "type") or "unknown"
        found = {"type": kind, "name": kind} if function is None else function_tool(function, "parameters")
        asked.tools.append(found)
    return asked


def _contents(message: Any) -> list[Any]:
    given = peek(message, "content")
    if isinstance(given, str):
        return [words(given)]
    return [part for item in items(message, "content") if (part := _part(item)) is not None]


def _part(item: Any) -> Any:
    match text(item, "type"):
        case "text":
            said = peek(item, "text")
            said = said if isinstance(said, str) else text(said, "value")
            return None if said is None else words(said)
        case "refusal":
            said = text(item, "refusal")
            return None if said is None else words(said)
        case "image_url":
            return media("image", text(peek(item, "image_url"), "url"))
        case "image_file":
            identifier = text(peek(item, "image_file"), "file_id")
            return None if identifier is None else file_part(identifier, "image")
    return None


def _calls(calls: Any) -> list[Any]:
    found: list[Any] = []
    for call in calls:
        kind, identifier = text(call, "type") or "unknown", text(call, "id")
        details = peek(call, kind)
        if kind == "function":
            found.append(tool_call(identifier, text(details, "name"), text(details, "arguments") or ""))
        else:
            said = text(details, "input")
            found.append(server_call(identifier, kind, kind, {} if said is None else {"input": said}))
    return found


def read_response(run: Any) -> list[Message]:
    """The tools that a run waits for."""
    action = peek(peek(run, "required_action"), "submit_tool_outputs")
    parts = _calls(each(action, "tool_calls"))
    return [{"role": "assistant", "parts": parts, "finish_reason": "tool_calls"}] if parts else []


class Joiner:
    """Joins the messages and the tool calls of a streamed run, in the order they began."""

    __slots__ = ("_order", "_run")

    def __init__(self) -> None:
        self._order: dict[str, _Growing] = {}
        self._run: Any = None

    def add(self, event: Any) -> None:
        data = peek(event, "data") or event
        kind, identifier = text(data, "object"), text(data, "id") or ""
        if kind == "thread.run":
            self._run = data
        elif kind in ("thread.message", "thread.run.step"):
            growing = self._order.setdefault(identifier, _Growing())
            if text(data, "status") == "completed":
                growing.parts = _contents(data) if kind == "thread.message" else _step(data)
        elif kind == "thread.message.delta":
            self._order.setdefault(identifier, _Growing()).add_text(peek(data, "delta"))
        elif kind == "thread.run.step.delta":
            self._order.setdefault(identifier, _Growing()).add_calls(peek(data, "delta"))

    def messages(self) -> list[Message]:
        parts = [part for growing in self._order.values() for part in growing.read()]
        waits = read_response(self._run)
        if waits and not any(part["type"] == "tool_call" for part in parts if isinstance(part, dict)):
            parts += waits[0]["parts"]
        reason = text(self._run, "status")
        if reason == "requires_action":
            reason = "tool_calls"
        return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


def _step(step: Any) -> list[Any]:
    return _calls(each(peek(step, "step_details"), "tool_calls"))


class _Growing:
    """A message or a step until it is completed; then what it says as a whole stands."""

    __slots__ = ("_calls", "_texts", "parts")

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self.parts: list[Any] | None = None

    def add_text(self, delta: Any) -> None:
        for item in items(delta, "content"):
            said = text(peek(item, "text"), "value")
            if said is not None:
                self._texts.setdefault(whole(item, "index") or 0, []).append(said)

    def add_calls(self, delta: Any) -> None:
        for item in items(peek(delta, "step_details"), "tool_calls"):
            call = self._calls.setdefault(whole(item, "index") or 0, {"pieces": []})
            kind = text(item, "type") or call.get("type") or "unknown"
            details = peek(item, kind)
            call["type"] = kind
            call["id"] = text(item, "id") or call.get("id")
            call["name"] = text(details, "name") or call.get("name")
            call["pieces"].append(text(details, "arguments" if kind == "function" else "input") or "")

    def read(self) -> list[Any]:
        if self.parts is not None:
            return self.parts
        found: list[Any] = [words("".join(self._texts[index])) for index in sorted(self._texts)]
        for index in sorted(self._calls):
            call = self._calls[index]
            said = "".join(call["pieces"])
            details = {"name": call["name"], "arguments": said, "input": said}
            found += _calls([{"type": call["type"], "id": call["id"], call["type"]: details}])
        return found


def read_nothing(_: Any) -> Asked:
    return Asked()


RUN_CONTENT = ContentFormat(read_request, read_response, Joiner)
RUN_RETRIEVE_CONTENT = ContentFormat(read_nothing, read_response)
