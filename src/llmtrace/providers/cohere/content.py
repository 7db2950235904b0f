"""Content of Cohere's requests and responses."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    function_tool,
    iter_items,
    media_part,
    parse_arguments,
    reasoning_part,
    text_part,
    text_parts,
    to_json,
    tool_call_part,
    tool_result_part,
    unknown_part,
)

__all__ = ["CHAT_CONTENT", "CHAT_V1_CONTENT", "read_embed_content"]


def _part(item: Any) -> Any:
    if (thinking := get_text(item, "thinking")) is not None:
        return reasoning_part(thinking)
    if (image := get(item, "image_url")) is not None:
        return media_part("image", image if isinstance(image, str) else get_text(image, "url"))
    text = item if isinstance(item, str) else get_text(item, "text")
    if text is not None:
        return text_part(text)
    return unknown_part(get_text(item, "type") or "unknown", item)


def _parts(message: Any) -> list[Any]:
    parts: list[Any] = []
    if plan := get_text(message, "tool_plan"):
        parts.append(reasoning_part(plan))
    content = get(message, "content") or get(message, "text") or get(message, "message")
    items = [content] if isinstance(content, str) else iter_items(message, "content")
    parts += [part for item in items if (part := _part(item)) is not None]
    for call in iter_items(message, "tool_calls"):
        function = get(call, "function") or call
        arguments = get(function, "arguments") or get(function, "parameters")
        parts.append(tool_call_part(get_text(call, "id"), get_text(function, "name"), arguments))
    return parts


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    for message in iter_items(body, "messages", request):
        role = get_text(message, "role") or "user"
        if role == "tool":
            content = get(message, "content")
            result = parse_arguments(content) if isinstance(content, str) else to_json(content)
            parts = [tool_result_part(get_text(message, "tool_call_id"), result)]
        else:
            parts = _parts(message)
        request.messages.append({"role": role, "parts": parts})
    request.tools += [function_tool(get(tool, "function"), "parameters") for tool in iter_items(body, "tools", request)]
    return request


_ROLES = {"CHATBOT": "assistant", "USER": "user", "SYSTEM": "system", "TOOL": "tool"}


def read_v1_request(body: Any) -> RequestContent:
    request = RequestContent(system=text_parts(body, "preamble"))
    for message in iter_items(body, "chat_history", request):
        role = get_text(message, "role") or "USER"
        request.messages.append({"role": _ROLES.get(role, role), "parts": _parts(message)})
    request.messages.append({"role": "user", "parts": _parts({"message": get(body, "message")})})
    request.tools += [function_tool(tool, "parameter_definitions") for tool in iter_items(body, "tools", request)]
    return request


def read_response(response: Any) -> list[Message]:
    message = get(response, "message")
    parts = _parts(response if message is None else message)
    reason = get_text(response, "finish_reason")
    return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


class CohereContentAccumulator:
    """Joins the events of a stream of the second version into one message."""

    __slots__ = ("_calls", "_plan", "_reason", "_texts")

    def __init__(self) -> None:
        self._plan: list[str] = []
        self._texts: dict[int, dict[str, str]] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._reason: str | None = None

    def add(self, event: Any) -> None:
        delta, index = get(event, "delta"), get_count(event, "index") or 0
        message = get(delta, "message")
        self._reason = get_text(delta, "finish_reason") or self._reason
        self._plan.append(get_text(message, "tool_plan") or "")
        content, calls = get(message, "content"), get(message, "tool_calls")
        if content is not None and not isinstance(content, list):
            texts = self._texts.setdefault(index, {})
            for name in ("thinking", "text"):
                if text := get_text(content, name):
                    texts[name] = texts.get(name, "") + text
        if calls is not None and not isinstance(calls, list):
            call = self._calls.setdefault(index, {"id": None, "function": {"name": None, "arguments": ""}})
            function = call["function"]
            call["id"] = get_text(calls, "id") or call["id"]
            function["name"] = get_text(get(calls, "function"), "name") or function["name"]
            function["arguments"] += get_text(get(calls, "function"), "arguments") or ""

    def messages(self) -> list[Message]:
        content = [self._texts[index] for index in sorted(self._texts)]
        calls = [self._calls[index] for index in sorted(self._calls)]
        message = {"tool_plan": "".join(self._plan), "content": content, "tool_calls": calls}
        return read_response({"message": message, "finish_reason": self._reason})


class CohereV1ContentAccumulator:
    """Reader of the last event of a stream of the first version, which has the complete response."""

    __slots__ = ("_pieces", "_response")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._response: Any = None

    def add(self, event: Any) -> None:
        if get_text(event, "event_type") == "text-generation":
            self._pieces.append(get_text(event, "text") or "")
        self._response = get(event, "response") or self._response

    def messages(self) -> list[Message]:
        return read_response(self._response or {"text": "".join(self._pieces)})


def read_embed_content(body: Any) -> RequestContent:
    """Return the texts to embed."""
    request = RequestContent()
    request.texts += [text for text in iter_items(body, "texts", request) if isinstance(text, str)]
    for item in iter_items(body, "inputs", request):
        request.texts += [text for part in iter_items(item, "content") if (text := get_text(part, "text")) is not None]
    return request


CHAT_CONTENT = ContentFormat(read_request, read_response, CohereContentAccumulator)
CHAT_V1_CONTENT = ContentFormat(read_v1_request, read_response, CohereV1ContentAccumulator)
