"""xAI's protobuf messages in the form of OpenAI's chat completions, which they resemble."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, get_text
from ...model import Request
from .. import CHAT
from ..openai.chat import compatible

__all__ = ["XAI_CHAT", "to_dict"]

_CACHED = {"cached_prompt_text_tokens": "cached_tokens", "prompt_image_tokens": "image_tokens"}
"""Counts that are parts of the prompt, and their names at OpenAI."""


def to_dict(message: Any) -> dict[str, Any]:
    """Return a protobuf message as a dictionary of the fields that are set, with OpenAI's names."""
    fields = {field.name: _value(field, value) for field, value in message.ListFields()}
    return _part(fields) if message.DESCRIPTOR.name == "Content" else _adapted(fields)


def _part(fields: dict[str, Any]) -> dict[str, Any]:
    for kind in ("text", "image_url", "file"):
        if kind in fields:
            inner = fields[kind]
            return {"type": kind, kind: {**inner, "url": inner.get("image_url")} if kind == "image_url" else inner}
    return fields


def _value(field: Any, value: Any) -> Any:
    # Maps and lists of messages are repeated fields too; llmtrace reads no map.
    if field.message_type is not None:
        if not hasattr(value, "ListFields"):
            return [to_dict(item) for item in value if hasattr(item, "ListFields")]
        return to_dict(value)
    if field.enum_type is not None:
        names = field.enum_type.values_by_number
        return [_name(names, item) for item in value] if not isinstance(value, int) else _name(names, value)
    return value if isinstance(value, (str, bytes, int, float)) else list(value)


def _name(names: Any, number: int) -> str:
    return str(names[number].name) if number in names else str(number)


def _adapted(fields: dict[str, Any]) -> dict[str, Any]:
    if "outputs" in fields:  # a response or a chunk
        fields["choices"] = fields.pop("outputs")
    if isinstance(role := fields.get("role"), str):
        fields["role"] = role.removeprefix("ROLE_").lower()
    if "prompt_tokens" in fields:
        parts = {name: fields.pop(count) for count, name in _CACHED.items() if count in fields}
        fields["prompt_tokens_details"] = parts
        fields.pop("prompt_text_tokens", None)
        used = fields.pop("server_side_tools_used", ())
        if used and "cost_in_usd_ticks" not in fields:
            fields["server_side_tool_calls"] = len(used)  # billed apart from the tokens
    return fields


def read_request(body: Any) -> Request:
    request = compatible(CHAT).request(body)
    if (effort := get_text(body, "reasoning_effort")) is not None:
        request.params["reasoning.level"] = effort.removeprefix("EFFORT_").lower()
    form = get_text(get(body, "response_format"), "format_type") or ""
    request.output_type = "json" if "JSON" in form else "text" if "TEXT" in form else None
    request.previous_response_id = get_text(body, "previous_response_id")
    request.service_tier = None  # the stated cost includes it
    return request


XAI_CHAT = replace(CHAT, request=read_request)
