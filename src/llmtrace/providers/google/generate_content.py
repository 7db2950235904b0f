"""Gemini generateContent: what was asked and said. The API's names are camelCase, its objects' snake_case."""

from __future__ import annotations

from typing import Any

from ..._read import peek, text, whole
from ...model import Asked, Blob, Message
from ...model.content_format import ContentFormat
from .._messages import (
    file_uri,
    function_tool,
    items,
    modality_of,
    plain,
    reasoning,
    server_call,
    server_result,
    tool_call,
    tool_result,
    turn,
    words,
)

__all__ = ["EMBED_CONTENT", "GENERATE_CONTENT"]

_ROLES = {"model": "assistant", "function": "tool"}


def _either(source: Any, camel: str, snake: str) -> Any:
    value = peek(source, camel)
    return peek(source, snake) if value is None else value


def read_request(body: Any) -> Asked:
    asked = Asked()
    asked.system += _parts(_either(body, "systemInstruction", "system_instruction"), asked)
    for content in items(body, "contents", asked):
        role = text(content, "role") or "user"
        asked.messages += turn(_ROLES.get(role, role), _parts(content, asked))
    for tool in items(body, "tools", asked):
        asked.tools += _tools(tool)
    return asked


def _tools(tool: Any) -> list[dict[str, Any]]:
    declared = _either(tool, "functionDeclarations", "function_declarations")
    if declared is not None:
        return [_function(function) for function in items({"functions": declared}, "functions")]
    kinds = plain(tool)
    return [{"type": kind, "name": kind} for kind in kinds] if isinstance(kinds, dict) else []


def _function(function: Any) -> dict[str, Any]:
    for schema in ("parameters", "parametersJsonSchema", "parameters_json_schema"):
        if peek(function, schema) is not None:
            return function_tool(function, schema)
    return function_tool(function, "parameters")


def _parts(content: Any, asked: Asked | None = None) -> list[Any]:
    if isinstance(content, str):
        return [words(content)]
    return [part for item in items(content, "parts", asked) if (part := _part(item)) is not None]


def _part(item: Any) -> Any:  # noqa: PLR0911 - one line per kind
    said = peek(item, "text")
    if isinstance(said, str):
        if not said:
            return None
        return reasoning(said) if peek(item, "thought") is True else words(said)
    if (call := _either(item, "functionCall", "function_call")) is not None:
        return tool_call(text(call, "id"), text(call, "name"), peek(call, "args") or {})
    if (answer := _either(item, "functionResponse", "function_response")) is not None:
        return tool_result(text(answer, "id"), plain(peek(answer, "response")))
    if (data := _either(item, "inlineData", "inline_data")) is not None:
        return _inline(data)
    if (file := _either(item, "fileData", "file_data")) is not None:
        mime_type = text(file, "mimeType") or text(file, "mime_type")
        return file_uri(text(file, "fileUri") or text(file, "file_uri"), mime_type)
    if (code := _either(item, "executableCode", "executable_code")) is not None:
        details = {"language": text(code, "language"), "code": text(code, "code")}
        return server_call(text(code, "id"), "code_execution", "code_execution", details)
    if (result := _either(item, "codeExecutionResult", "code_execution_result")) is not None:
        details = {"outcome": text(result, "outcome"), "output": text(result, "output")}
        return server_result(text(result, "id"), "code_execution", details)
    return _server_tool(item)


def _server_tool(item: Any) -> Any:
    """A tool of Google's own other than code: search, files, maps."""
    if (call := _either(item, "toolCall", "tool_call")) is not None:
        kind = _tool_type(call)
        return server_call(text(call, "id"), kind, kind, _some(call, "args"))
    if (answer := _either(item, "toolResponse", "tool_response")) is not None:
        return server_result(text(answer, "id"), _tool_type(answer), _some(answer, "response"))
    return None


def _tool_type(source: Any) -> str:
    kind = _either(source, "toolType", "tool_type")
    kind = getattr(kind, "value", kind)
    return kind.lower() if isinstance(kind, str) and kind else "unknown"


def _some(source: Any, name: str) -> dict[str, Any]:
    value = peek(source, name)
    return {} if value is None else {name: plain(value)}


def _inline(data: Any) -> Blob | None:
    mime_type = text(data, "mimeType") or text(data, "mime_type")
    content = peek(data, "data")
    return Blob(modality_of(mime_type), mime_type, content) if isinstance(content, (str, bytes)) else None


class Joiner:
    """Joins the answers of a stream; a plain answer is a stream of one."""

    __slots__ = ("_parts", "_reasons")

    def __init__(self) -> None:
        self._parts: dict[int, list[Any]] = {}
        self._reasons: dict[int, str] = {}

    def add(self, answer: Any) -> None:
        for candidate in items(answer, "candidates"):
            index = whole(candidate, "index") or 0
            self._parts.setdefault(index, []).extend(_parts(peek(candidate, "content")))
            reason = _either(candidate, "finishReason", "finish_reason")
            reason = getattr(reason, "value", reason)
            if isinstance(reason, str):
                self._reasons[index] = reason

    def messages(self) -> list[Message]:
        return [
            {"role": "assistant", "parts": _joined(self._parts[index]), "finish_reason": self._reasons.get(index)}
            for index in sorted(self._parts)
        ]


def _joined(parts: list[Any]) -> list[Any]:
    """Texts that follow one another, as one: a stream cuts them anywhere."""
    found: list[Any] = []
    runs: list[list[str]] = []
    for part in parts:
        kind = part["type"] if isinstance(part, dict) else None
        if kind not in ("text", "reasoning"):
            found.append(part)
            continue
        if not (found and isinstance(found[-1], dict) and found[-1]["type"] == kind):
            found.append({"type": kind, "content": ""})
            runs.append([])
        runs[-1].append(part["content"])
    said = iter(runs)
    for part in found:
        if isinstance(part, dict) and part["type"] in ("text", "reasoning"):
            part["content"] = "".join(next(said))
    return found


def read_response(answer: Any) -> list[Message]:
    joiner = Joiner()
    joiner.add(answer)
    return joiner.messages()


def read_embedded(body: Any) -> Asked:
    asked = Asked()
    requests = list(items(body, "requests", asked)) or [body]
    for request in requests:
        parts = _parts(peek(request, "content"), asked)
        said = "".join(part["content"] for part in parts if isinstance(part, dict) and part["type"] == "text")
        if said:
            asked.texts.append(said)
    for instance in items(body, "instances", asked):
        if (content := text(instance, "content")) is not None:
            asked.texts.append(content)
    return asked


GENERATE_CONTENT = ContentFormat(read_request, read_response, Joiner)
EMBED_CONTENT = ContentFormat(read_embedded)
