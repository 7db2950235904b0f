"""Content of Bedrock Converse: prompts and responses."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    file_uri_part,
    function_tool,
    iter_items,
    join_texts,
    parse_arguments,
    reasoning_part,
    split_tool_results,
    text_part,
    to_json,
    tool_call_part,
    tool_result_part,
    unknown_part,
)

__all__ = ["CONVERSE_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    request.system += _parts(body, "system", request)
    for message in iter_items(body, "messages", request):
        request.messages += split_tool_results(get_text(message, "role") or "user", _parts(message, "content", request))
    for tool in iter_items(get(body, "toolConfig"), "tools", request):
        spec = get(tool, "toolSpec")
        if spec is not None:
            schema = get(get(spec, "inputSchema"), "json")
            named = {"name": get(spec, "name"), "description": get(spec, "description"), "schema": schema}
            request.tools.append(function_tool(named, "schema"))
        elif name := get_text(get(tool, "systemTool"), "name"):
            request.tools.append({"type": "system", "name": name})
    return request


def _parts(source: Any, name: str, request: RequestContent | None = None) -> list[Any]:
    return [part for block in iter_items(source, name, request) if (part := _part(block, request)) is not None]


_MEDIA = ("image", "document", "video", "audio")
_TEXT_FORMATS = {"txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "html": "text/html"}


def _part(block: Any, request: RequestContent | None) -> Any:  # noqa: PLR0911 - one line per type
    """Return a content block, a mapping with one key that names its type."""
    if isinstance(text := get(block, "text"), str):
        return text_part(text)
    kind = next(iter(block), None) if isinstance(block, dict) else None
    value = get(block, kind) if isinstance(kind, str) else None
    match kind:
        case None | "cachePoint":
            return None
        case "toolUse":
            return tool_call_part(get_text(value, "toolUseId"), get_text(value, "name"), get(value, "input"))
        case "toolResult":
            return tool_result_part(get_text(value, "toolUseId"), _result(value, request))
        case "reasoningContent":
            thought = get_text(get(value, "reasoningText"), "text")
            return None if thought is None else reasoning_part(thought)
        case "guardContent":
            guarded = get_text(get(value, "text"), "text")
            return _media("image", get(value, "image")) if guarded is None else text_part(guarded)
        case "citationsContent":
            return text_part("".join(get_text(part, "text") or "" for part in iter_items(value, "content")))
        case "json":
            return text_part(str(to_json(value)))
        case _ if kind in _MEDIA:
            return _media(kind, value)
        case _:
            return unknown_part(str(kind), value)


def _media(modality: str, value: Any) -> Any:
    source, form = get(value, "source"), get_text(value, "format")
    mime_type = None
    if form is not None:
        mime_type = _TEXT_FORMATS.get(form) or f"{'application' if modality == 'document' else modality}/{form}"
    data = get(source, "bytes")
    if isinstance(data, (str, bytes, bytearray)):
        return Blob(modality, mime_type, data if isinstance(data, str) else bytes(data))
    if (text := get_text(source, "text")) is not None:
        return text_part(text)
    if (uri := get_text(get(source, "s3Location"), "uri")) is not None:
        return {**(file_uri_part(uri, mime_type) or {}), "modality": modality}
    return None


def _result(value: Any, request: RequestContent | None) -> Any:
    blocks = list(iter_items(value, "content", request))
    if len(blocks) == 1 and (result := get(blocks[0], "json")) is not None:
        return to_json(result)
    return join_texts([part for block in blocks if (part := _part(block, request)) is not None])


def read_response(response: Any) -> list[Message]:
    message = get(get(response, "output"), "message")
    parts, reason = _parts(message, "content"), get_text(response, "stopReason")
    if not parts and reason is None:
        return []
    return [{"role": get_text(message, "role") or "assistant", "parts": parts, "finish_reason": reason}]


class ConverseContentAccumulator:
    """Accumulator of the content of Converse stream events."""

    __slots__ = ("_blocks", "_reason", "_started")

    def __init__(self) -> None:
        self._blocks: dict[int, tuple[dict[str, Any], list[str], list[str]]] = {}
        """By index: the start of the block, its pieces of text or arguments, and its pieces of reasoning."""
        self._reason: str | None = None
        self._started = False

    def add(self, event: Any) -> str | None:
        if (body := get(event, "contentBlockDelta")) is not None:
            delta = get(body, "delta")
            _, texts, thoughts = self._block(body)
            text = get_text(delta, "text")
            if text is not None:
                texts.append(text)
                return text
            texts.append(get_text(get(delta, "toolUse"), "input") or "")
            thoughts.append(get_text(get(delta, "reasoningContent"), "text") or "")
        elif (body := get(event, "contentBlockStart")) is not None:
            start = to_json(get(body, "start"))
            self._block(body)[0].update(start if isinstance(start, dict) else {})
        elif (body := get(event, "messageStop")) is not None:
            self._reason = get_text(body, "stopReason")
            self._started = True
        elif get(event, "messageStart") is not None:
            self._started = True
        return None

    def _block(self, body: Any) -> tuple[dict[str, Any], list[str], list[str]]:
        index = get_count(body, "contentBlockIndex") or 0
        if index not in self._blocks:
            self._blocks[index] = {}, [], []
        return self._blocks[index]

    def messages(self) -> list[Message]:
        if not self._started:
            return []
        parts: list[Any] = []
        for _, (start, texts, thoughts) in sorted(self._blocks.items()):
            text, thought = "".join(texts), "".join(thoughts)
            if thought:
                parts.append(reasoning_part(thought))
            if isinstance(tool := start.get("toolUse"), dict):
                arguments = parse_arguments(text) if text else {}
                parts.append(tool_call_part(get_text(tool, "toolUseId"), get_text(tool, "name"), arguments))
            elif text:
                parts.append(text_part(text))
        return [{"role": "assistant", "parts": parts, "finish_reason": self._reason}]


CONVERSE_CONTENT = ContentFormat(read_request, read_response, ConverseContentAccumulator)
