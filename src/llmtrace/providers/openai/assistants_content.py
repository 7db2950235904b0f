"""OpenAI assistants: the instructions and messages of a run, and what a streamed run says.

A run that is not streamed says nothing itself: its messages are asked for elsewhere.
"""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    file_part,
    function_tool,
    iter_items,
    media_part,
    parse_arguments,
    server_tool_call_part,
    text_part,
    tool_call_part,
    tool_result_part,
)

__all__ = ["RUN_CONTENT", "RUN_RETRIEVE_CONTENT"]


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    for name in ("instructions", "additional_instructions"):
        if (said := get_text(body, name)) is not None:
            asked.system.append(text_part(said))
    for source, name in ((get(body, "thread"), "messages"), (body, "additional_messages")):
        for message in iter_items(source, name, asked):
            asked.messages.append({"role": get_text(message, "role") or "user", "parts": _contents(message)})
    for output in iter_items(body, "tool_outputs", asked):
        result = tool_result_part(get_text(output, "tool_call_id"), parse_arguments(get(output, "output")))
        asked.messages.append({"role": "tool", "parts": [result]})
    for tool in iter_items(body, "tools", asked):
        function, kind = get(tool, "function"), get_text(tool, "type") or "unknown"
        found = {"type": kind, "name": kind} if function is None else function_tool(function, "parameters")
        asked.tools.append(found)
    return asked


def _contents(message: Any) -> list[Any]:
    given = get(message, "content")
    if isinstance(given, str):
        return [text_part(given)]
    return [part for item in iter_items(message, "content") if (part := _part(item)) is not None]


def _part(item: Any) -> Any:
    match get_text(item, "type"):
        case "text":
            said = get(item, "text")
            said = said if isinstance(said, str) else get_text(said, "value")
            return None if said is None else text_part(said)
        case "refusal":
            said = get_text(item, "refusal")
            return None if said is None else text_part(said)
        case "image_url":
            return media_part("image", get_text(get(item, "image_url"), "url"))
        case "image_file":
            identifier = get_text(get(item, "image_file"), "file_id")
            return None if identifier is None else file_part(identifier, "image")
    return None


def _calls(calls: Any) -> list[Any]:
    found: list[Any] = []
    for call in calls:
        kind, identifier = get_text(call, "type") or "unknown", get_text(call, "id")
        details = get(call, kind)
        if kind == "function":
            found.append(tool_call_part(identifier, get_text(details, "name"), get_text(details, "arguments") or ""))
        else:
            said = get_text(details, "input")
            found.append(server_tool_call_part(identifier, kind, kind, {} if said is None else {"input": said}))
    return found


def read_response(run: Any) -> list[Message]:
    """The tools that a run waits for."""
    action = get(get(run, "required_action"), "submit_tool_outputs")
    parts = _calls(iter_list(action, "tool_calls"))
    return [{"role": "assistant", "parts": parts, "finish_reason": "tool_calls"}] if parts else []


class RunContentAccumulator:
    """Joins the messages and the tool calls of a streamed run, in the order they began."""

    __slots__ = ("_order", "_run")

    def __init__(self) -> None:
        self._order: dict[str, _PartialItem] = {}
        self._run: Any = None

    def add(self, event: Any) -> None:
        data = get(event, "data") or event
        kind, identifier = get_text(data, "object"), get_text(data, "id") or ""
        if kind == "thread.run":
            self._run = data
        elif kind in ("thread.message", "thread.run.step"):
            growing = self._order.setdefault(identifier, _PartialItem())
            if get_text(data, "status") == "completed":
                growing.parts = _contents(data) if kind == "thread.message" else _step(data)
        elif kind == "thread.message.delta":
            self._order.setdefault(identifier, _PartialItem()).add_text(get(data, "delta"))
        elif kind == "thread.run.step.delta":
            self._order.setdefault(identifier, _PartialItem()).add_calls(get(data, "delta"))

    def messages(self) -> list[Message]:
        parts = [part for growing in self._order.values() for part in growing.read()]
        waits = read_response(self._run)
        if waits and not any(part["type"] == "tool_call" for part in parts if isinstance(part, dict)):
            parts += waits[0]["parts"]
        reason = get_text(self._run, "status")
        if reason == "requires_action":
            reason = "tool_calls"
        return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


def _step(step: Any) -> list[Any]:
    return _calls(iter_list(get(step, "step_details"), "tool_calls"))


class _PartialItem:
    """A message or a step until it is completed; then what it says as a whole stands."""

    __slots__ = ("_calls", "_texts", "parts")

    def __init__(self) -> None:
        self._texts: dict[int, list[str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self.parts: list[Any] | None = None

    def add_text(self, delta: Any) -> None:
        for item in iter_items(delta, "content"):
            said = get_text(get(item, "text"), "value")
            if said is not None:
                self._texts.setdefault(get_count(item, "index") or 0, []).append(said)

    def add_calls(self, delta: Any) -> None:
        for item in iter_items(get(delta, "step_details"), "tool_calls"):
            call = self._calls.setdefault(get_count(item, "index") or 0, {"pieces": []})
            kind = get_text(item, "type") or call.get("type") or "unknown"
            details = get(item, kind)
            call["type"] = kind
            call["id"] = get_text(item, "id") or call.get("id")
            call["name"] = get_text(details, "name") or call.get("name")
            call["pieces"].append(get_text(details, "arguments" if kind == "function" else "input") or "")

    def read(self) -> list[Any]:
        if self.parts is not None:
            return self.parts
        found: list[Any] = [text_part("".join(self._texts[index])) for index in sorted(self._texts)]
        for index in sorted(self._calls):
            call = self._calls[index]
            said = "".join(call["pieces"])
            details = {"name": call["name"], "arguments": said, "input": said}
            found += _calls([{"type": call["type"], "id": call["id"], call["type"]: details}])
        return found


def read_nothing(_: Any) -> RequestContent:
    return RequestContent()


RUN_CONTENT = ContentFormat(read_request, read_response, RunContentAccumulator)
RUN_RETRIEVE_CONTENT = ContentFormat(read_nothing, read_response)
