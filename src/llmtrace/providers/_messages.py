"""Parts of messages in the convention's form, and the copies they are made of.

Whatever is put into a part is a copy: the caller may change its own lists while the call is under way.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, Set, ValuesView
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from .._read import peek, text
from ..model import Asked, Blob, Message, Part

__all__ = [
    "data_url",
    "file_part",
    "file_uri",
    "function_tool",
    "items",
    "joined",
    "media",
    "modality_of",
    "other",
    "parsed",
    "plain",
    "reasoning",
    "server_call",
    "server_result",
    "tool_call",
    "tool_result",
    "turn",
    "words",
]

_DEEPEST = 40
_LISTS = (list, tuple, deque, Set, KeysView, ValuesView, ItemsView)
_OPAQUE = frozenset({"encrypted_content", "encrypted_stdout", "encrypted_index", "signature", "thought_signature"})
"""Long, and readable to the vendor alone."""
_MODALITIES = ("image", "audio", "video")


def items(source: Any, name: str, asked: Asked | None = None) -> Iterator[Any]:
    """The items under ``name``; of an iterator none, since a second reader would find it empty."""
    value = peek(source, name)
    if isinstance(value, _LISTS) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))):
        return iter(value)
    if value is not None and asked is not None and hasattr(value, "__iter__") and not _scalar(value):
        asked.complete = False
    return iter(())


def _scalar(value: Any) -> bool:
    # A pydantic model can be iterated too, as its fields.
    return isinstance(value, (str, bytes, bytearray, Mapping)) or hasattr(value, "model_dump")


def words(content: str) -> Part:
    return {"type": "text", "content": content}


def reasoning(content: str) -> Part:
    return {"type": "reasoning", "content": content}


def tool_call(identifier: str | None, name: str | None, arguments: Any) -> Part:
    return _identified({"type": "tool_call", "name": name or "unknown", "arguments": parsed(arguments)}, identifier)


def tool_result(identifier: str | None, response: Any) -> Part:
    return _identified({"type": "tool_call_response", "response": "" if response is None else response}, identifier)


def server_call(identifier: str | None, name: str, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call", "name": name, "server_tool_call": {"type": kind, **details}}
    return _identified(part, identifier)


def server_result(identifier: str | None, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call_response", "server_tool_call_response": {"type": kind, **details}}
    return _identified(part, identifier)


def _identified(part: Part, identifier: str | None) -> Part:
    if identifier:
        part["id"] = identifier
    return part


def function_tool(tool: Any, schema: str) -> dict[str, Any]:
    """A function's definition, whose parameters are described under ``schema``."""
    found: dict[str, Any] = {"type": "function", "name": text(tool, "name") or "unknown"}
    description = text(tool, "description")
    if description is not None:
        found["description"] = description
    parameters = peek(tool, schema)
    if parameters is not None:
        found["parameters"] = plain(parameters)
    return found


def media(modality: str, url: Any, mime_type: str | None = None) -> Part | Blob | None:
    """What a URL points to; a data URL is the data itself."""
    if not isinstance(url, str) or not url:
        return None
    if url[:5].lower() == "data:":
        return data_url(url, modality)
    part = {"type": "uri", "modality": modality, "uri": url}
    if mime_type:
        part["mime_type"] = mime_type
    return part


def data_url(url: str, modality: str | None = None) -> Blob | None:
    head, comma, data = url.partition(",")
    if not comma:
        return None
    mime_type = head[5:].partition(";")[0] or None
    return Blob(modality or modality_of(mime_type), mime_type, data)


def modality_of(mime_type: str | None) -> str:
    kind = (mime_type or "").partition("/")[0]
    return kind if kind in _MODALITIES else "document"


def file_uri(uri: str | None, mime_type: str | None) -> Part | None:
    if uri is None:
        return None
    part = {"type": "uri", "modality": modality_of(mime_type), "uri": uri}
    if mime_type:
        part["mime_type"] = mime_type
    return part


def file_part(file_id: str, modality: str = "document", mime_type: str | None = None) -> Part:
    part = {"type": "file", "modality": modality, "file_id": file_id}
    if mime_type:
        part["mime_type"] = mime_type
    return part


def other(kind: str, block: Any) -> Part:
    """A block of a kind that has no form of its own, as it is; a model leaves out a type that nobody set."""
    found = plain(block)
    return {**(found if isinstance(found, dict) else {}), "type": kind}


def parsed(arguments: Any) -> Any:
    """Arguments as the object they spell, or as the text they are where they spell none."""
    if not isinstance(arguments, str):
        return plain(arguments)
    try:
        return plain(json.loads(arguments))
    except (ValueError, RecursionError):
        return arguments


def turn(role: str, parts: list[Any]) -> list[Message]:
    """A turn, with the results of tools it carries as messages of their own: one each, or a backend shows the last."""
    results = [part for part in parts if isinstance(part, dict) and part["type"] == "tool_call_response"]
    rest = [part for part in parts if not (isinstance(part, dict) and part["type"] == "tool_call_response")]
    messages: list[Message] = [{"role": "tool", "parts": [result]} for result in results]
    if rest or not results:
        messages.append({"role": role, "parts": rest})
    return messages


def joined(messages: list[Message], role: str, parts: list[Any]) -> None:
    """Add ``parts`` to the last message if that is of the same role, as one turn of a model may come in many items."""
    if messages and messages[-1]["role"] == role:
        messages[-1]["parts"] += parts
    else:
        messages.append({"role": role, "parts": parts})


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of JSON values only, of a mapping, an SDK's object, a dataclass, and whatever these hold."""
    if value is None or (isinstance(value, (str, bool, int, float)) and not isinstance(value, Enum)):
        return value
    if depth > _DEEPEST:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): plain(item, depth + 1) for key, item in value.items() if key not in _OPAQUE}
    if isinstance(value, _LISTS):
        return [plain(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return Blob("document", None, bytes(value))
    if isinstance(value, Enum):
        return plain(value.value, depth + 1)
    return _opened(value, depth)


def _opened(value: Any, depth: int) -> Any:
    if isinstance(value, type):
        return value.__name__
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return plain(dump(exclude_unset=True, warnings=False), depth + 1)
    if is_dataclass(value):
        return {item.name: plain(getattr(value, item.name), depth + 1) for item in fields(value)}
    if isinstance(value, Iterator):
        return f"<{type(value).__name__}>"
    return str(value)
