"""Content of Gemini generateContent. The API uses camelCase names, the SDK's objects snake_case."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from itertools import groupby
from typing import Any

from ..._read import get, get_count, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    file_uri_part,
    function_tool,
    iter_items,
    modality_of,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    split_tool_results,
    text_part,
    to_json,
    tool_call_part,
    tool_result_part,
)

__all__ = ["EMBED_CONTENT", "GENERATE_CONTENT", "either", "snake_case"]

_ROLES = {"model": "assistant", "function": "tool"}


@cache
def snake_case(name: str) -> str:
    """Return the name of a field in the SDK's objects."""
    return re.sub("[A-Z]", lambda capital: f"_{capital[0].lower()}", name)


def either(source: Any, name: str) -> Any:
    """Return the value under the name of the API, or else under that of the SDK's objects."""
    value = get(source, name)
    return get(source, snake_case(name)) if value is None else value


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    request.system += _parts(either(body, "systemInstruction"), request)
    for content in iter_items(body, "contents", request):
        role = get_text(content, "role") or "user"
        request.messages += split_tool_results(_ROLES.get(role, role), _parts(content, request))
    for tool in iter_items(body, "tools", request):
        request.tools += _tools(tool)
    return request


def _tools(tool: Any) -> list[dict[str, Any]]:
    declared = either(tool, "functionDeclarations")
    if declared is not None:
        return [_function(function) for function in iter_items({"functions": declared}, "functions")]
    kinds = to_json(tool)
    return [{"type": kind, "name": kind} for kind in kinds] if isinstance(kinds, dict) else []


def _function(function: Any) -> dict[str, Any]:
    for schema in ("parameters", "parametersJsonSchema", "parameters_json_schema"):
        if get(function, schema) is not None:
            return function_tool(function, schema)
    return function_tool(function, "parameters")


def _parts(content: Any, request: RequestContent | None = None) -> list[Any]:
    if isinstance(content, str):
        return [text_part(content)]
    return [part for item in iter_items(content, "parts", request) if (part := _part(item)) is not None]


def _part(item: Any) -> Any:  # noqa: PLR0911 - one line per kind
    text = get(item, "text")
    if isinstance(text, str):
        if not text:
            return None
        return reasoning_part(text) if get(item, "thought") is True else text_part(text)
    if (call := either(item, "functionCall")) is not None:
        return tool_call_part(get_text(call, "id"), get_text(call, "name"), get(call, "args") or {})
    if (response := either(item, "functionResponse")) is not None:
        return tool_result_part(get_text(response, "id"), to_json(get(response, "response")))
    if (data := either(item, "inlineData")) is not None:
        return _inline(data)
    if (file := either(item, "fileData")) is not None:
        mime_type = get_text(file, "mimeType") or get_text(file, "mime_type")
        return file_uri_part(get_text(file, "fileUri") or get_text(file, "file_uri"), mime_type)
    if (code := either(item, "executableCode")) is not None:
        details = {"language": get_text(code, "language"), "code": get_text(code, "code")}
        return server_tool_call_part(get_text(code, "id"), "code_execution", "code_execution", details)
    if (result := either(item, "codeExecutionResult")) is not None:
        details = {"outcome": get_text(result, "outcome"), "output": get_text(result, "output")}
        return server_tool_result_part(get_text(result, "id"), "code_execution", details)
    return _server_tool(item)


def _server_tool(item: Any) -> Any:
    """Return the part of one of Google's own tools other than code execution: search, files, maps."""
    if (call := either(item, "toolCall")) is not None:
        kind = _tool_type(call)
        return server_tool_call_part(get_text(call, "id"), kind, kind, _detail(call, "args"))
    if (response := either(item, "toolResponse")) is not None:
        return server_tool_result_part(get_text(response, "id"), _tool_type(response), _detail(response, "response"))
    return None


def _tool_type(source: Any) -> str:
    kind = either(source, "toolType")
    kind = getattr(kind, "value", kind)
    return kind.lower() if isinstance(kind, str) and kind else "unknown"


def _detail(source: Any, name: str) -> dict[str, Any]:
    value = get(source, name)
    return {} if value is None else {name: to_json(value)}


def _inline(data: Any) -> Blob | None:
    mime_type = get_text(data, "mimeType") or get_text(data, "mime_type")
    content = get(data, "data")
    return Blob(modality_of(mime_type), mime_type, content) if isinstance(content, (str, bytes)) else None


_TEXT_TYPES = ("text", "reasoning")


class GenerateContentAccumulator:
    """Accumulator of the content of stream chunks; a plain response is a stream of one chunk."""

    def __init__(self) -> None:
        self._parts: defaultdict[int, list[Any]] = defaultdict(list)
        self._reasons: dict[int, str] = {}
        self._latest: list[tuple[int, Any]] = []
        """Parts of the latest chunk, each with the index of its candidate."""

    def add(self, chunk: Any) -> None:
        self._latest = []
        for candidate in iter_items(chunk, "candidates"):
            index = get_count(candidate, "index") or 0
            parts = _parts(get(candidate, "content"))
            self._parts[index] += parts
            self._latest += [(index, part) for part in parts]
            reason = either(candidate, "finishReason")
            if isinstance(reason := getattr(reason, "value", reason), str):
                self._reasons[index] = reason

    @property
    def latest_text(self) -> str | None:
        """Text of the latest chunk, or ``None`` if the chunk held other parts or several."""
        if len(self._latest) != 1:
            return None
        part = self._latest[0][1]
        return part["content"] if isinstance(part, dict) and part["type"] in _TEXT_TYPES else None

    def repeat(self, text: str) -> None:
        """Add a chunk like the latest one, which held one text, with another text."""
        ((index, part),) = self._latest
        if text:
            self._parts[index].append({"type": part["type"], "content": text})

    def messages(self) -> list[Message]:
        return [
            {"role": "assistant", "parts": _merge_texts(self._parts[index]), "finish_reason": self._reasons.get(index)}
            for index in sorted(self._parts)
        ]


def _merge_texts(parts: list[Any]) -> list[Any]:
    """Merge consecutive texts: a stream may split them anywhere."""
    merged: list[Any] = []
    for kind, run in groupby(parts, lambda part: part["type"] if isinstance(part, dict) else None):
        if kind in _TEXT_TYPES:
            merged.append({"type": kind, "content": "".join(part["content"] for part in run)})
        else:
            merged += run
    return merged


def read_response(response: Any) -> list[Message]:
    accumulator = GenerateContentAccumulator()
    accumulator.add(response)
    return accumulator.messages()


def read_embedded(body: Any) -> RequestContent:
    request = RequestContent()
    for embedded in list(iter_items(body, "requests", request)) or [body]:
        parts = _parts(get(embedded, "content"), request)
        text = "".join(part["content"] for part in parts if isinstance(part, dict) and part["type"] == "text")
        if text:
            request.texts.append(text)
    for instance in iter_items(body, "instances", request):
        if (content := get_text(instance, "content")) is not None:
            request.texts.append(content)
    return request


GENERATE_CONTENT = ContentFormat(read_request, read_response, GenerateContentAccumulator)
EMBED_CONTENT = ContentFormat(read_embedded)
