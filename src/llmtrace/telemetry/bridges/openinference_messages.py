"""OpenInference messages, for lists with parts that Phoenix drops when it converts the convention's messages.

Phoenix reads either its own list or the convention's, so a list is written completely or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..truncate import dumps

__all__ = ["write_messages"]

_PARTS_DROPPED_BY_PHOENIX = frozenset({"server_tool_call", "server_tool_call_response", "file", "compaction"})
_MAX_ATTRIBUTES = 64


def write_messages(prefix: str, messages: Any) -> dict[str, Any]:
    """Return the attributes of a list of messages, under names that begin with ``prefix``.

    There are none if Phoenix converts all parts itself, or if there would be too many.
    """
    if not isinstance(messages, list) or not any(
        part.get("type") in _PARTS_DROPPED_BY_PHOENIX for message in messages for part in _parts(message)
    ):
        return {}
    attributes: dict[str, Any] = {}
    for index, message in enumerate(messages):
        _write(f"{prefix}.{index}.message.", message, attributes)
        if len(attributes) > _MAX_ATTRIBUTES:
            return {}
    return attributes


def _parts(message: Any) -> Iterator[dict[str, Any]]:
    parts = message.get("parts") if isinstance(message, dict) else None
    return (part for part in parts if isinstance(part, dict)) if isinstance(parts, list) else iter(())


def _write(prefix: str, message: Any, attributes: dict[str, Any]) -> None:
    attributes[f"{prefix}role"] = message.get("role", "user") if isinstance(message, dict) else "user"
    contents = calls = 0
    for part in _parts(message):
        if part.get("type") == "tool_call_response":
            attributes[f"{prefix}content"] = _text(part.get("response"))
            _put(attributes, f"{prefix}tool_call_id", part.get("id"))
        elif (call := _call(part)) is not None:
            name = f"{prefix}tool_calls.{calls}.tool_call."
            _put(attributes, f"{name}id", part.get("id"))
            attributes[f"{name}function.name"], attributes[f"{name}function.arguments"] = call
            calls += 1
        elif (content := _content(part)) is not None:
            name = f"{prefix}contents.{contents}.message_content."
            attributes.update({name + key: value for key, value in content.items()})
            contents += 1


def _call(part: dict[str, Any]) -> tuple[str, str] | None:
    match part.get("type"):
        case "tool_call":
            return str(part.get("name")), _text(part.get("arguments"))
        case "server_tool_call":
            details = part.get("server_tool_call")
            arguments = details.get("input", details) if isinstance(details, dict) else details
            return str(part.get("name")), _text(arguments)
        case _:
            return None


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    match part.get("type"):
        case "text" | "reasoning" | "compaction":
            return {"type": "text", "text": _text(part.get("content"))}
        case "uri" if part.get("modality") == "image":
            return {"type": "image", "image.image.url": _text(part.get("uri"))}
        case "blob" if part.get("modality") == "image" and part.get("content"):
            url = f"data:{part.get('mime_type') or 'image/png'};base64,{part['content']}"
            return {"type": "image", "image.image.url": url}
        case "file":
            return {"type": "text", "text": f"[{part.get('modality') or 'document'} file {part.get('file_id')}]"}
        case "server_tool_call_response":
            details = part.get("server_tool_call_response")
            result = details.get("content", details) if isinstance(details, dict) else details
            return {"type": "text", "text": _text(result)}
        case _:
            return {"type": "text", "text": dumps(part)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else dumps(value)


def _put(attributes: dict[str, Any], name: str, value: Any) -> None:
    if isinstance(value, str):
        attributes[name] = value
