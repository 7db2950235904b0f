"""Estimates of token counts that the provider did not report, kept apart from reported usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .._text import compact_json
from ..model import Message, Part, RequestContent
from . import tokens

_REASONING_MODELS = (
    *("o1", "o3", "o4", "gpt-5", "gpt-6"),
    *("deepseek-reasoner", "deepseek-r1", "grok-4", "magistral", "qwq"),
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


def estimate(
    model: str | None, request: RequestContent, text: str | None, calls: int = 0, *, operation: str = "chat"
) -> Estimate:
    """Estimate the tokens of a request and its response, without a price.

    ``text`` is that of the response, with the names and arguments of its tool calls; ``None`` if not available.
    """
    encoding = tokens.encoding_of(model)
    name = (model or "").rpartition("/")[2].lower()
    claude = "claude" in name
    return Estimate(
        input=count_input(request, encoding, operation, claude=claude),
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


def count_input(request: RequestContent, encoding: str, operation: str = "chat", *, claude: bool = False) -> int:
    """Return the tokens of a request: messages and tools with their overhead, without images and audio."""
    if operation == "embeddings":
        return request.token_count + sum(tokens.count(text, encoding) for text in request.texts)
    if operation == "text_completion":
        parts = sum(_count_parts(message["parts"], encoding) for message in request.messages)
        return request.token_count + parts
    total = sum(_count_message(message, encoding) for message in request.messages)
    if request.system:
        total += _TOKENS_PER_MESSAGE + 1 + _count_parts(request.system, encoding)
    return total + _TOKENS_BEFORE_RESPONSE + _count_tools(request.tools, encoding, claude=claude)


def _count_message(message: Message, encoding: str) -> int:
    total = _TOKENS_PER_MESSAGE + tokens.count(message["role"], encoding) + _count_parts(message["parts"], encoding)
    return total + _TOKENS_PER_NAME + tokens.count(message["name"], encoding) if "name" in message else total


def _count_parts(parts: list[Any], encoding: str) -> int:
    return sum(_count_part(part, encoding) for part in parts if isinstance(part, dict))


def _count_part(part: Part, encoding: str) -> int:
    match part["type"]:
        case "tool_call":
            arguments = _count_value(part["arguments"], encoding)
            return _TOKENS_PER_MESSAGE + tokens.count(part["name"], encoding) + arguments
        case "tool_call_response":
            response = part["response"]
            if isinstance(response, list):
                return _count_parts(response, encoding)
            return _count_value(response, encoding)
    content = part.get("content")
    if isinstance(content, list):
        return _count_parts(content, encoding)
    return tokens.count(content, encoding) if isinstance(content, str) else 0


def _count_value(value: Any, encoding: str) -> int:
    """Return the tokens of a value that a prompt contains as text, or else as JSON."""
    return tokens.count(value if isinstance(value, str) else compact_json(value), encoding)


def _count_tools(tools: list[dict[str, Any]], encoding: str, *, claude: bool) -> int:
    """Return the tokens of tools, which a prompt contains as a line per function and a line per parameter."""
    if claude and tools:
        counts = [tokens.count(_claude_definition(tool), encoding) for tool in tools]
        return _TOKENS_FOR_CLAUDE_TOOLS + sum(_TOKENS_PER_CLAUDE_TOOL + count for count in counts)
    functions = [tool for tool in tools if tool["type"] == "function"]
    if not functions:
        return 0
    opening = 7 if encoding == "o200k_base" else 10
    return 12 + sum(opening + _count_signature(function, encoding) for function in functions)


def _claude_definition(tool: dict[str, Any]) -> str:
    """Return the definition of a tool as it was sent, without its type."""
    return compact_json(
        {"input_schema" if name == "parameters" else name: tool[name] for name in tool if name != "type"}
    )


def _count_signature(tool: Mapping[str, Any], encoding: str) -> int:
    description = str(tool.get("description") or "").rstrip(".")
    total = tokens.count(f"{tool['name']}:{description}", encoding)
    schema = tool.get("parameters")
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
