"""Estimates of token counts that the provider did not report, kept apart from reported usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import tokens

__all__ = ["Estimate", "count_input", "count_output", "estimate"]

_REASONING_MODELS = (
    "o1",
    "o3",
    "o4",
    "gpt-5",
    "gpt-6",
    "deepseek-reasoner",
    "deepseek-r1",
    "grok-4",
    "magistral",
    "qwq",
)
_TOKENS_PER_MESSAGE, _TOKENS_PER_NAME, _TOKENS_BEFORE_RESPONSE = 3, 1, 3
"""Overhead in tokens: of each message, of a name in it, and of the start of the response."""
_TOKENS_PER_SINGLE_CALL, _TOKENS_PER_PARALLEL_CALL, _TOKENS_PER_CLAUDE_CALL = 7, 14, 37
"""Overhead in tokens: of a single tool call, of each of several, and of each of Claude's; measured in responses."""
_TOKENS_FOR_CLAUDE_TOOLS, _TOKENS_PER_CLAUDE_TOOL = 346, 110
"""Tokens that tools add to a prompt of Claude: once for all tools, and for each tool beyond its definition."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Estimated token counts of one call."""

    input: int
    output: int | None
    """Output tokens; ``None`` if the text of the response is not available."""
    method: str
    """Name of the encoding that the tokens were counted with."""
    floor: bool = False
    """True if the model may have reasoned without returning the text: the output has at least this many tokens."""
    usd: float | None = None
    """Cost of these counts in USD, if the model has a price."""
    partial: bool = False
    """True if the counts include usage that the provider reported before the stream broke."""


def estimate(model: str | None, body: Any, text: str | None, calls: int = 0, *, embedding: bool = False) -> Estimate:
    """Estimate the tokens of a request and its response.

    Args:
        model: Name of the model, which decides the encoding.
        body: Body of the request.
        text: Text of the response, with the names and arguments of its tool calls; ``None`` if not available.
        calls: Number of tool calls in the response.
        embedding: True for a request for embeddings, whose inputs have no overhead per message.

    Returns:
        The estimate, without a price.
    """
    encoding = tokens.encoding_of(model)
    name = (model or "").rpartition("/")[2].lower()
    claude = "claude" in name
    return Estimate(
        input=_count_embedded(body, encoding) if embedding else count_input(body, encoding, claude=claude),
        output=None if text is None else count_output(text, encoding, calls, claude=claude),
        method=encoding,
        floor=name.startswith(_REASONING_MODELS),
    )


def count_output(text: str, encoding: str, calls: int = 0, *, claude: bool = False) -> int:
    """Return the tokens of a response: its text, and the overhead of its tool calls."""
    overhead = (
        _TOKENS_PER_CLAUDE_CALL if claude else _TOKENS_PER_SINGLE_CALL if calls == 1 else _TOKENS_PER_PARALLEL_CALL
    )
    return tokens.count(text, encoding) + calls * overhead


def count_input(body: Any, encoding: str, *, claude: bool = False) -> int:
    """Return the tokens of a request: messages and tools with their overhead, without images and audio."""
    if not isinstance(body, Mapping):
        return 0
    prompt = body.get("prompt")
    if prompt is not None:
        return _count_text(prompt, encoding)
    messages = next((body[name] for name in _MESSAGE_FIELDS if body.get(name) is not None), None)
    total = 0
    if isinstance(messages, str):
        total += _TOKENS_PER_MESSAGE + 1 + tokens.count(messages, encoding)
    elif isinstance(messages, (list, tuple)):
        total += sum(_count_message(message, encoding) for message in messages)
    elif isinstance(messages, Mapping):
        total += _count_message(messages, encoding)
    for name in _SYSTEM_FIELDS:
        if body.get(name):
            total += _TOKENS_PER_MESSAGE + 1 + _count_text(body[name], encoding)
    return (
        total
        + _TOKENS_BEFORE_RESPONSE
        + _count_tools(body.get("tools") or body.get("functions"), encoding, claude=claude)
    )


def _count_embedded(body: Any, encoding: str) -> int:
    """Return the tokens of the inputs of a request for embeddings: texts, or lists of token ids."""
    if isinstance(body, Mapping):
        return sum(
            _count_embedded(body[name], encoding) for name in (*_MESSAGE_FIELDS, "parts", "text") if name in body
        )
    if isinstance(body, (list, tuple)):
        return sum(1 if type(item) is int else _count_embedded(item, encoding) for item in body)
    return tokens.count(body, encoding) if isinstance(body, str) else 0


_MESSAGE_FIELDS = ("messages", "input", "contents", "content", "requests", "instances")
_SYSTEM_FIELDS = ("system", "instructions", "systemInstruction", "system_instruction")


def _count_message(message: Any, encoding: str) -> int:
    if not isinstance(message, Mapping):
        return _count_text(message, encoding)
    total = _TOKENS_PER_MESSAGE + _count_text(message.get("role"), encoding)
    total += sum(_count_text(message[name], encoding) for name in ("content", "parts") if name in message)
    if "content" not in message and "parts" not in message:
        total += _count_text(message, encoding)
    if message.get("name"):
        total += _TOKENS_PER_NAME + _count_text(message["name"], encoding)
    for call in message.get("tool_calls") or ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            total += (
                _TOKENS_PER_MESSAGE
                + _count_text(function.get("name"), encoding)
                + _count_text(function.get("arguments"), encoding)
            )
    return total


_TEXT_FIELDS = (
    "text", "content", "input", "arguments", "output", "thinking", "name", "parts", "functionCall", "function_call",
    "functionResponse", "function_response", "args", "response",
)  # fmt: skip
_JSON_FIELDS = frozenset({"args", "response"})
"""Fields whose value a prompt contains as JSON."""


def _count_text(value: Any, encoding: str) -> int:
    """Return the tokens of a text, or of the texts in the content blocks of any vendor."""
    if isinstance(value, str):
        return tokens.count(value, encoding)
    if isinstance(value, Mapping):
        kind = value.get("type")
        if kind in ("tool_use", "tool_result") and not isinstance(value.get("content"), (str, list)):
            return tokens.count(_to_json(value.get("input", {})), encoding) + _count_text(value.get("name"), encoding)
        return sum(
            tokens.count(_to_json(value[name]), encoding)
            if name in _JSON_FIELDS
            else _count_text(value[name], encoding)
            for name in _TEXT_FIELDS
            if name in value
        )
    if isinstance(value, (list, tuple)):
        return sum(_count_text(item, encoding) for item in value)
    return 0


def _count_tools(tools: Any, encoding: str, *, claude: bool) -> int:
    """Return the tokens of tools, which a prompt contains as a line per function and a line per parameter."""
    if not isinstance(tools, (list, tuple)):
        return 0
    definitions = [_definition(function) for tool in tools for function in _functions_of(tool)]
    functions = [function for function in definitions if function is not None]
    if not functions:
        return 0
    if claude:
        counts = [tokens.count(_to_json(function), encoding) for function in functions]
        return _TOKENS_FOR_CLAUDE_TOOLS + sum(_TOKENS_PER_CLAUDE_TOOL + count for count in counts)
    opening = 7 if encoding == "o200k_base" else 10
    return 12 + sum(opening + _count_signature(function, encoding) for function in functions)


def _functions_of(tool: Any) -> list[Any]:
    """Return the functions of one entry of the tools: Gemini puts several into one."""
    if isinstance(tool, Mapping):
        for name in ("functionDeclarations", "function_declarations"):
            if isinstance(tool.get(name), list):
                return list(tool[name])
    return [tool]


def _definition(tool: Any) -> Mapping[str, Any] | None:
    if not isinstance(tool, Mapping):
        return None
    inner = tool.get("function", tool)
    return inner if isinstance(inner, Mapping) and isinstance(inner.get("name"), str) else None


def _count_signature(tool: Mapping[str, Any], encoding: str) -> int:
    description = str(tool.get("description") or "").rstrip(".")
    total = tokens.count(f"{tool['name']}:{description}", encoding)
    schema = tool.get("parameters") or tool.get("input_schema") or {}
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping) or not properties:
        return total
    total += 3
    for name, value in properties.items():
        parameter = value if isinstance(value, Mapping) else {}
        choices = parameter.get("enum")
        if isinstance(choices, (list, tuple)):
            total += sum(3 + tokens.count(str(choice), encoding) for choice in choices) - 3
        line = f"{name}:{parameter.get('type', 'object')}:{str(parameter.get('description') or '').rstrip('.')}"
        total += 3 + tokens.count(line, encoding)
    return total


def _to_json(value: Any) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), default=str)
    except (TypeError, ValueError):
        return ""
