"""Message parts in the form of the GenAI conventions, and copies of the values they hold.

Every value in a part is a copy: the caller may change its own lists while the call is in progress.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, Sequence, Set, ValuesView
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

from .._read import get, get_text, put
from ..model import Blob, Message, Part, RequestContent

_MAX_DEPTH = 40
_LISTS = (list, tuple, deque, Set, KeysView, ValuesView, ItemsView)
_OPAQUE = frozenset({"encrypted_content", "encrypted_stdout", "encrypted_index", "signature", "thought_signature"})
"""Fields that are long and readable by the vendor only."""
_MODALITIES = ("image", "audio", "video")


def iter_items(source: Any, name: str, request: RequestContent | None = None) -> Iterator[Any]:
    """Iterate over the items under ``name``. Skip an iterator: reading it here would exhaust it for the SDK."""
    value = get(source, name)
    if isinstance(value, _LISTS) or (isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray))):
        return iter(value)
    if value is not None and request is not None and hasattr(value, "__iter__") and not _scalar(value):
        request.complete = False
    return iter(())


def count_encoded(item: Any) -> int:
    """Return the number of tokens of an item that the caller has encoded: one number, or a list of them."""
    return len(item) if isinstance(item, (list, tuple)) else int(type(item) is int)


def _scalar(value: Any) -> bool:
    # Exclude pydantic models: iterating one yields its fields.
    return isinstance(value, (str, bytes, bytearray, Mapping)) or hasattr(value, "model_dump")


def read_parts(source: Any, name: str, read: Callable[[Any], Any], request: RequestContent | None = None) -> list[Any]:
    """Return the parts under ``name``: of one text, or of a list whose items ``read`` converts or skips."""
    content = get(source, name)
    if isinstance(content, str):
        return [text_part(content)] if content else []
    return [part for item in iter_items(source, name, request) if (part := read(item)) is not None]


def text_parts(source: Any, *names: str) -> list[Part]:
    """Return the parts of the texts under ``names``."""
    return [text_part(text) for name in names if (text := get_text(source, name)) is not None]


def join_texts(parts: list[Any]) -> Any:
    """Return the parts of a tool's result, or its text if it has nothing else."""
    if all(isinstance(part, dict) and part["type"] == "text" for part in parts):
        return "".join(part["content"] for part in parts)
    return parts


def text_part(content: str) -> Part:
    return {"type": "text", "content": content}


def reasoning_part(content: str) -> Part:
    return {"type": "reasoning", "content": content}


def tool_call_part(identifier: str | None, name: str | None, arguments: Any) -> Part:
    return _with(
        {"type": "tool_call", "name": name or "unknown", "arguments": parse_arguments(arguments)}, id=identifier
    )


def tool_result_part(identifier: str | None, response: Any) -> Part:
    return _with({"type": "tool_call_response", "response": "" if response is None else response}, id=identifier)


def server_tool_call_part(identifier: str | None, name: str, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call", "name": name, "server_tool_call": {"type": kind, **details}}
    return _with(part, id=identifier)


def server_tool_result_part(identifier: str | None, kind: str, details: dict[str, Any]) -> Part:
    part = {"type": "server_tool_call_response", "server_tool_call_response": {"type": kind, **details}}
    return _with(part, id=identifier)


def _with(part: Part, **optional: str | None) -> Part:
    part.update({name: value for name, value in optional.items() if value})
    return part


def tool_definition(tool: Any) -> dict[str, Any]:
    """Return the definition of a function, or of another kind of tool in the dialect of OpenAI."""
    kind = get_text(tool, "type") or "function"
    inner = get(tool, kind)
    if kind == "function":
        return function_tool(tool if inner is None else inner, "parameters")
    name = get_text(inner, "name") or get_text(tool, "name") or get_text(tool, "server_label")
    return {"type": kind, "name": name or kind}


def function_tool(tool: Any, schema: str) -> dict[str, Any]:
    """Return a function's definition. ``schema`` names the field that describes its parameters."""
    definition: dict[str, Any] = {"type": "function", "name": get_text(tool, "name") or "unknown"}
    put(definition, {"description": get_text(tool, "description"), "parameters": to_json(get(tool, schema))})
    return definition


def media_part(modality: str, url: Any, mime_type: str | None = None) -> Part | Blob | None:
    """Return the part for a URL. A data URL becomes a ``Blob``."""
    if not isinstance(url, str) or not url:
        return None
    if url[:5].lower() == "data:":
        return data_url_part(url, modality)
    return _with({"type": "uri", "modality": modality, "uri": url}, mime_type=mime_type)


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
    return _with({"type": "uri", "modality": modality_of(mime_type), "uri": uri}, mime_type=mime_type)


def data_part(modality: str, mime_type: str | None, data: Any, uri: str | None) -> Part | Blob | None:
    """Return the part for data of a modality, which were sent or which a URI identifies."""
    if isinstance(data, (str, bytes)) and data:
        return Blob(modality, mime_type, data)
    part = file_uri_part(uri, mime_type)
    return None if part is None else {**part, "modality": modality}


def file_part(file_id: str, modality: str = "document", mime_type: str | None = None) -> Part:
    return _with({"type": "file", "modality": modality, "file_id": file_id}, mime_type=mime_type)


def unknown_part(kind: str, block: Any) -> Part:
    """Return a generic part with the fields of a block that the conventions do not define."""
    content = to_json(block)
    return {**(content if isinstance(content, dict) else {}), "type": "generic", "generic_type": kind}


def parse_arguments(arguments: Any) -> Any:
    """Return the value that JSON ``arguments`` encode, or the text itself if it is not JSON."""
    if not isinstance(arguments, str):
        return to_json(arguments)
    try:
        return to_json(json.loads(arguments))
    except (ValueError, RecursionError):
        return arguments


def split_tool_results(role: str, parts: list[Any]) -> list[Message]:
    """Return a turn with each of its tool results in a message of its own.

    Backends show only the last of several results in one message.
    """
    results = [part for part in parts if isinstance(part, dict) and part["type"] == "tool_call_response"]
    rest = [part for part in parts if not (isinstance(part, dict) and part["type"] == "tool_call_response")]
    messages: list[Message] = [{"role": "tool", "parts": [result]} for result in results]
    if rest or not results:
        messages.append({"role": role, "parts": rest})
    return messages


def append_turn(messages: list[Message], role: str, parts: list[Any]) -> None:
    """Add ``parts`` to the last message if it has the same role: one turn of a model may come in many items."""
    if messages and messages[-1]["role"] == role:
        messages[-1]["parts"] += parts
    else:
        messages.append({"role": role, "parts": parts})


def to_json(value: Any, depth: int = 0) -> Any:
    """Return a copy that holds JSON values only, of mappings, lists, SDK objects and dataclasses.

    Bytes become a ``Blob``.
    """
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
    return _object_to_json(value, depth)


def _object_to_json(value: Any, depth: int) -> Any:
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
