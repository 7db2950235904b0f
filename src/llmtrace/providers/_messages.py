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

from .._read import get, get_text
from ..model import Blob, Message, Part, RequestContent

__all__ = [
    "append_turn",
    "data_url_part",
    "file_part",
    "file_uri_part",
    "function_tool",
    "iter_items",
    "media_part",
    "modality_of",
    "parse_arguments",
    "reasoning_part",
    "server_tool_call_part",
    "server_tool_result_part",
    "split_tool_results",
    "text_part",
    "to_json",
    "tool_call_part",
    "tool_result_part",
    "unknown_part",
]

_MAX_DEPTH = 40
_LISTS = (list, tuple, deque, Set, KeysView, ValuesView, ItemsView)
_OPAQUE = frozenset({"encrypted_content", "encrypted_stdout", "encrypted_index", "signature", "thought_signature"})
"""Long, and readable to the vendor alone."""
_MODALITIES = ("image", "audio", "video")


def iter_items(source: Any, name: str, request: RequestContent | None = None) -> Iterator[Any]:
    """The items under ``name``; of an iterator none, since a second reader would find it empty."""
    value = get(source, name)
    if isinstance(value, _LISTS) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))):
        return iter(value)
    if value is not None and request is not None and hasattr(value, "__iter__") and not _scalar(value):
        request.complete = False
    return iter(())


def _scalar(value: Any) -> bool:
    # A pydantic model can be iterated too, as its fields.
    return isinstance(value, (str, bytes, bytearray, Mapping)) or hasattr(value, "model_dump")


def text_part(content: str) -> Part:
    return {"type": "text", "content": content}


def reasoning_part(content: str) -> Part:
    return {"type": "reasoning", "content": content}


def tool_call_part(identifier: str | None, name: str | None, arguments: Any) -> Part:
    return _identified(
        {"type": "tool_call", "name": name or "unknown", "arguments": parse_arguments(arguments)}, identifier
    )


def tool_result_part(identifier: str | None, response: Any) -> Part:
    return _identified({"type": "tool_call_response", "response": "" if response is None else response}, identifier)


def server_tool_call_part(identifier: str | None, name: str, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call", "name": name, "server_tool_call": {"type": kind, **details}}
    return _identified(part, identifier)


def server_tool_result_part(identifier: str | None, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call_response", "server_tool_call_response": {"type": kind, **details}}
    return _identified(part, identifier)


def _identified(part: Part, identifier: str | None) -> Part:
    if identifier:
        part["id"] = identifier
    return part


def function_tool(tool: Any, schema: str) -> dict[str, Any]:
    """A function's definition, whose parameters are described under ``schema``."""
    found: dict[str, Any] = {"type": "function", "name": get_text(tool, "name") or "unknown"}
    description = get_text(tool, "description")
    if description is not None:
        found["description"] = description
    parameters = get(tool, schema)
    if parameters is not None:
        found["parameters"] = to_json(parameters)
    return found


def media_part(modality: str, url: Any, mime_type: str | None = None) -> Part | Blob | None:
    """What a URL points to; a data URL is the data itself."""
    if not isinstance(url, str) or not url:
        return None
    if url[:5].lower() == "data:":
        return data_url_part(url, modality)
    part = {"type": "uri", "modality": modality, "uri": url}
    if mime_type:
        part["mime_type"] = mime_type
    return part


def data_url_part(url: str, modality: str | None = None) -> Blob | None:
    head, comma, data = url.partition(",")
    if not comma:
        return None
    mime_type = head[5:].partition(";")[0] or None
    return Blob(modality or modality_of(mime_type), mime_type, data)


def modality_of(mime_type: str | None) -> str:
    kind = (mime_type or "").partition("/")[0]
    return kind if kind in _MODALITIES else "document"


def file_uri_part(uri: str | None, mime_type: str | None) -> Part | None:
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


def unknown_part(kind: str, block: Any) -> Part:
    """A block of a kind that has no form of its own, as it is; a model leaves out a type that nobody set."""
    found = to_json(block)
    return {**(found if isinstance(found, dict) else {}), "type": kind}


def parse_arguments(arguments: Any) -> Any:
    """Arguments as the object they spell, or as the text they are where they spell none."""
    if not isinstance(arguments, str):
        return to_json(arguments)
    try:
        return to_json(json.loads(arguments))
    except (ValueError, RecursionError):
        return arguments


def split_tool_results(role: str, parts: list[Any]) -> list[Message]:
    """A turn, with the results of tools it carries as messages of their own: one each, or a backend shows the last."""
    results = [part for part in parts if isinstance(part, dict) and part["type"] == "tool_call_response"]
    rest = [part for part in parts if not (isinstance(part, dict) and part["type"] == "tool_call_response")]
    messages: list[Message] = [{"role": "tool", "parts": [result]} for result in results]
    if rest or not results:
        messages.append({"role": role, "parts": rest})
    return messages


def append_turn(messages: list[Message], role: str, parts: list[Any]) -> None:
    """Add ``parts`` to the last message if that is of the same role, as one turn of a model may come in many items."""
    if messages and messages[-1]["role"] == role:
        messages[-1]["parts"] += parts
    else:
        messages.append({"role": role, "parts": parts})


def to_json(value: Any, depth: int = 0) -> Any:
    """A copy of JSON values only, of a mapping, an SDK's object, a dataclass, and whatever these hold."""
    if value is None or (isinstance(value, (str, bool, int, float)) and not isinstance(value, Enum)):
        return value
    if depth > _MAX_DEPTH:
        return "..."
    if isinstance(value, Mapping):
        return {str(key): to_json(item, depth + 1) for key, item in value.items() if key not in _OPAQUE}
    if isinstance(value, _LISTS):
        return [to_json(item, depth + 1) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return Blob("document", None, bytes(value))
    if isinstance(value, Enum):
        return to_json(value.value, depth + 1)
    return _open_object(value, depth)


def _open_object(value: Any, depth: int) -> Any:
    if isinstance(value, type):
        return value.__name__
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return to_json(dump(exclude_unset=True, warnings=False), depth + 1)
    if is_dataclass(value):
        return {item.name: to_json(getattr(value, item.name), depth + 1) for item in fields(value)}
    if isinstance(value, Iterator):
        return f"<{type(value).__name__}>"
    return str(value)
