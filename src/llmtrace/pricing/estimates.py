"""What a call probably used, when its provider did not say: an estimate, kept apart from what is known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import tokens

__all__ = ["Estimate", "count_input", "count_output", "estimate"]

_REASONING = ("o1", "o3", "o4", "gpt-5", "gpt-6", "deepseek-reasoner", "deepseek-r1", "grok-4", "magistral", "qwq")
_PER_MESSAGE, _PER_NAME, _ANSWER = 3, 1, 3
"""The frame around each message, a name in it, and the beginning of the answer."""
_CALL, _CALLS, _CLAUDE_CALL = 7, 14, 37
"""The frame around a single tool call, around each of several, and around each of Claude's: as seen in answers."""
_CLAUDE_TOOLS, _CLAUDE_TOOL = 346, 110
"""What the offer of tools at all, and of each tool beyond its definition, adds to a prompt of Claude's."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Token counts that nobody told."""

    input: int
    output: int | None
    """``None`` where what was said is not known."""
    method: str
    """The encoding that was counted with."""
    floor: bool = False
    """The model may have thought without showing it: the true count of the output is at least this."""
    usd: float | None = None
    """What that would cost, where the price is known."""
    partial: bool = False
    """The provider reported a beginning, which is in these counts."""


def estimate(model: str | None, body: Any, text: str | None, calls: int = 0, *, embedding: bool = False) -> Estimate:
    """Count a request, and the answer's text and tool calls if there is one.

    Names and arguments of the calls are part of ``text``. What is embedded has no frames.
    """
    encoding = tokens.encoding_of(model)
    name = (model or "").rpartition("/")[2].lower()
    claude = "claude" in name
    return Estimate(
        input=_count_embedded(body, encoding) if embedding else count_input(body, encoding, claude=claude),
        output=None if text is None else count_output(text, encoding, calls, claude=claude),
        method=encoding,
        floor=name.startswith(_REASONING),
    )


def count_output(text: str, encoding: str, calls: int = 0, *, claude: bool = False) -> int:
    """The tokens of an answer's joined text, and of the frames around its tool calls."""
    frame = _CLAUDE_CALL if claude else _CALL if calls == 1 else _CALLS
    return tokens.count(text, encoding) + calls * frame


def count_input(body: Any, encoding: str, *, claude: bool = False) -> int:
    """The tokens of a request: messages with their frames, tools with theirs; images and audio are not counted."""
    if not isinstance(body, Mapping):
        return 0
    prompt = body.get("prompt")
    if prompt is not None:
        return _text(prompt, encoding)
    messages = next((body[name] for name in _MESSAGES if body.get(name) is not None), None)
    total = 0
    if isinstance(messages, str):
        total += _PER_MESSAGE + 1 + tokens.count(messages, encoding)
    elif isinstance(messages, (list, tuple)):
        total += sum(_message(each, encoding) for each in messages)
    elif isinstance(messages, Mapping):
        total += _message(messages, encoding)
    for name in _SYSTEM:
        if body.get(name):
            total += _PER_MESSAGE + 1 + _text(body[name], encoding)
    return total + _ANSWER + _tools(body.get("tools") or body.get("functions"), encoding, claude=claude)


def _count_embedded(body: Any, encoding: str) -> int:
    """The tokens of what a request has embedded: texts, or tokens already."""
    if isinstance(body, Mapping):
        return sum(_count_embedded(body[name], encoding) for name in (*_MESSAGES, "parts", "text") if name in body)
    if isinstance(body, (list, tuple)):
        return sum(1 if type(each) is int else _count_embedded(each, encoding) for each in body)
    return tokens.count(body, encoding) if isinstance(body, str) else 0


_MESSAGES = ("messages", "input", "contents", "content", "requests", "instances")
_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction")


def _message(message: Any, encoding: str) -> int:
    if not isinstance(message, Mapping):
        return _text(message, encoding)
    total = _PER_MESSAGE + _text(message.get("role"), encoding)
    total += sum(_text(message[name], encoding) for name in ("content", "parts") if name in message)
    if "content" not in message and "parts" not in message:
        total += _text(message, encoding)
    if message.get("name"):
        total += _PER_NAME + _text(message["name"], encoding)
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            total += _PER_MESSAGE + _text(function.get("name"), encoding) + _text(function.get("arguments"), encoding)
    return total


_TEXTS = (
    "text", "content", "input", "arguments", "output", "thinking", "name", "parts", "functionCall", "function_call",
    "functionResponse", "function_response", "args", "response",
)  # fmt: skip
_DATA = frozenset({"args", "response"})
"""Of these the JSON is what a prompt holds."""


def _text(value: Any, encoding: str) -> int:
    """The tokens of a text, or of the texts in blocks of any vendor's form."""
    if isinstance(value, str):
        return tokens.count(value, encoding)
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind in ("tool_use", "tool_result") and not isinstance(value.get("content"), (str, list)):
            return tokens.count(_json(value.get("input", {})), encoding) + _text(value.get("name"), encoding)
        return sum(
            tokens.count(_json(value[name]), encoding) if name in _DATA else _text(value[name], encoding)
            for name in _TEXTS
            if name in value
        )
    if isinstance(value, (list, tuple)):
        return sum(_text(each, encoding) for each in value)
    return 0


def _tools(tools: Any, encoding: str, *, claude: bool) -> int:
    """Tools as a prompt holds them: a line for each function, one for each of its parameters."""
    listed = [_function(tool) for each in tools for tool in _declared(each)] if isinstance(tools, (list, tuple)) else []
    known = [tool for tool in listed if tool is not None]
    if not known:
        return 0
    if claude:
        return _CLAUDE_TOOLS + sum(_CLAUDE_TOOL + tokens.count(_json(tool), encoding) for tool in known)
    opening = 7 if encoding == "o200k_base" else 10
    return 12 + sum(opening + _signature(tool, encoding) for tool in known)


def _declared(tool: Any) -> list[Any]:
    """Return the functions of one entry, of which Gemini lists several."""
    if isinstance(tool, Mapping):
        for name in ("functionDeclarations", "function_declarations"):
            if isinstance(tool.get(name), list):
                return list(tool[name])
    return [tool]


def _function(tool: Any) -> Mapping[str, Any] | None:
    if not isinstance(tool, Mapping):
        return None
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) and isinstance(inner.get("name"), str) else None


def _signature(tool: Mapping[str, Any], encoding: str) -> int:
    description = str(tool.get("description") or "").rstrip(".")
    total = tokens.count(f"{tool['name']}:{description}", encoding)
    schema = tool.get("parameters") or tool.get("input_schema") or {}
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not properties:
        return total
    total += 3
    for name, value in properties.items():
        about = value if isinstance(value, Mapping) else {}
        choices = about.get("enum")
        if isinstance(choices, (list, tuple)):
            total += sum(3 + tokens.count(str(choice), encoding) for choice in choices) - 3
        line = f"{name}:{about.get('type', 'object')}:{str(about.get('description') or '').rstrip('.')}"
        total += 3 + tokens.count(line, encoding)
    return total


def _json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError):
        return ""
