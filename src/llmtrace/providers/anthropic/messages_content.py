"""Content of Anthropic messages: prompts and responses."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    file_part,
    function_tool,
    iter_items,
    join_texts,
    media_part,
    parse_arguments,
    read_parts,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    split_tool_results,
    text_part,
    text_parts,
    to_json,
    tool_call_part,
    tool_result_part,
    unknown_part,
)

__all__ = ["COMPLETE_CONTENT", "COUNT_TOKENS_CONTENT", "MESSAGES_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    request.system += _blocks(body, "system", request)
    for message in iter_items(body, "messages", request):
        request.messages += split_tool_results(
            get_text(message, "role") or "user", _blocks(message, "content", request)
        )
    request.tools += map(_tool, iter_items(body, "tools", request))
    for server in iter_items(body, "mcp_servers", request):
        request.tools.append({"type": "mcp", "name": get_text(server, "name") or "mcp"})
    return request


def _tool(tool: Any) -> dict[str, Any]:
    if get(tool, "input_schema") is not None:
        return function_tool(tool, "input_schema")
    kind = get_text(tool, "type")
    return {"type": kind or "function", "name": get_text(tool, "name") or kind or "unknown"}


def _blocks(source: Any, name: str, request: RequestContent | None = None) -> list[Any]:
    return read_parts(source, name, lambda block: _part(block, request), request)


def _part(block: Any, request: RequestContent | None = None) -> Any:  # noqa: PLR0911 - one line per type
    if isinstance(block, str):
        return text_part(block)
    kind = get_text(block, "type") or ""
    match kind:
        case "text":
            content = get(block, "text")
            return text_part(content) if isinstance(content, str) else None
        case "thinking":
            thought = get_text(block, "thinking")
            return None if thought is None else reasoning_part(thought)
        case "redacted_thinking":
            return None  # readable by the vendor only
        case "tool_use":
            return tool_call_part(get_text(block, "id"), get_text(block, "name"), get(block, "input"))
        case "tool_result":
            result = join_texts(_blocks(block, "content", request)) or ""
            return tool_result_part(get_text(block, "tool_use_id"), result)
        case "image" | "document" | "audio" | "video":
            return _source(kind, get(block, "source"))
        case "server_tool_use" | "mcp_tool_use":
            name = get_text(block, "name") or kind
            return server_tool_call_part(get_text(block, "id"), name, name, {"input": to_json(get(block, "input"))})
        case "compaction":
            return {"type": "compaction", "content": get_text(block, "content") or ""}
        case _ if kind.endswith("_tool_result"):
            details = {"content": to_json(get(block, "content"))}
            return server_tool_result_part(get_text(block, "tool_use_id"), kind.removesuffix("_tool_result"), details)
        case "container_upload":
            return file_part(get_text(block, "file_id") or "")
        case _:
            return unknown_part(kind, block) if kind else None


def _source(modality: str, source: Any) -> Any:
    mime_type = get_text(source, "media_type")
    match get_text(source, "type"):
        case "base64":
            data = get(source, "data")
            return Blob(modality, mime_type, data) if isinstance(data, (str, bytes)) else None
        case "url":
            return media_part(modality, get(source, "url"), mime_type)
        case "file":
            return file_part(get_text(source, "file_id") or "", modality, mime_type)
        case "text":
            return text_part(get_text(source, "data") or "")
        case "content":
            content = get(source, "content")
            text = content if isinstance(content, str) else None
            return text_part(text) if text is not None else {"type": modality, "content": _blocks(source, "content")}
        case _:
            return None


def read_response(response: Any) -> list[Message]:
    parts = _blocks(response, "content")
    reason = get_text(response, "stop_reason")
    if not parts and reason is None:
        return []
    return [{"role": get_text(response, "role") or "assistant", "parts": parts, "finish_reason": reason}]


DELTA_FIELDS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


class MessagesContentAccumulator:
    """Accumulator of the content of messages stream events."""

    def __init__(self) -> None:
        self._blocks: dict[int, Any] = {}
        self._pieces: dict[int, list[str]] = {}
        self._reason: str | None = None
        self._started = False

    def add(self, event: Any) -> str | None:
        try:
            # Fast path: nearly every event is an SDK model that extends a block.
            fields = event.__dict__
            delta = fields["delta"].__dict__
            piece = delta[DELTA_FIELDS[delta["type"]]]
            if type(piece) is str:
                self._pieces[fields["index"]].append(piece)
                return piece
        except (AttributeError, KeyError, TypeError):
            pass
        self._add(event)
        return None

    def _add(self, event: Any) -> None:
        match get(event, "type"):
            case "content_block_delta":
                delta = get(event, "delta")
                kind = get(delta, "type")
                piece = get(delta, DELTA_FIELDS.get(kind, "content")) if isinstance(kind, str) else None
                if isinstance(piece, str) and piece:
                    self._pieces.setdefault(get_count(event, "index") or 0, []).append(piece)
            case "content_block_start":
                # Copy the block: the SDK's helper goes on to change it.
                self._blocks[get_count(event, "index") or 0] = to_json(get(event, "content_block"))
            case "message_start":
                self._started = True
            case "message_delta":
                self._reason = get_text(get(event, "delta"), "stop_reason") or self._reason

    def messages(self) -> list[Message]:
        if not self._started:
            return []
        parts: list[Any] = []
        for index in sorted(self._blocks.keys() | self._pieces.keys()):
            if (part := _part(self._finished_block(index))) is not None:
                parts.append(part)
        return [{"role": "assistant", "parts": parts, "finish_reason": self._reason}]

    def _finished_block(self, index: int) -> Any:
        block = dict(self._blocks.get(index) or {"type": "text", "text": ""})
        text = "".join(self._pieces.get(index, ()))
        if not text:
            return block
        kind = block.get("type")
        if kind in ("text", "thinking"):
            block[kind] = str(block.get(kind) or "") + text
        elif kind == "compaction":
            block["content"] = text
        else:
            block["input"] = parse_arguments(text)
        return block


def read_prompt(body: Any) -> RequestContent:
    parts = text_parts(body, "prompt")
    return RequestContent(messages=[{"role": "user", "parts": parts}] if parts else [])


def read_completion(response: Any) -> list[Message]:
    parts, reason = text_parts(response, "completion"), get_text(response, "stop_reason")
    return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


class CompletionContentAccumulator:
    """Accumulator of the content of the legacy text completion stream."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._reason: str | None = None

    def add(self, event: Any) -> None:
        self._pieces.append(get_text(event, "completion") or "")
        self._reason = get_text(event, "stop_reason") or self._reason

    def messages(self) -> list[Message]:
        return read_completion({"completion": "".join(self._pieces), "stop_reason": self._reason})


COMPLETE_CONTENT = ContentFormat(read_prompt, read_completion, CompletionContentAccumulator)
MESSAGES_CONTENT = ContentFormat(read_request, read_response, MessagesContentAccumulator)
COUNT_TOKENS_CONTENT = ContentFormat(read_request)
