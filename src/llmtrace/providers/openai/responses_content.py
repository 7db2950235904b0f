"""Content of OpenAI responses. All output of the model in one response becomes one message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import Blob, Message, RequestContent, normalize_finish_reason
from ...model.content_format import ContentFormat
from .._common import no_content
from .._messages import (
    append_turn,
    iter_items,
    read_parts,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    text_part,
    text_parts,
    to_json,
    tool_call_part,
    tool_definition,
    tool_result_part,
)
from .chat_content import read_part

__all__ = ["INPUT_TOKENS_CONTENT", "RESPONSES_CONTENT", "RETRIEVE_RESPONSE_CONTENT", "end_reason"]

_END = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
_CALLS = frozenset({"function_call", "custom_tool_call"})
_CALLER_TOOLS = _CALLS | {"computer_call", "local_shell_call", "apply_patch_call"}
"""Types of output items that ask the caller to act."""
_CALLER_TOOL_OUTPUTS = frozenset(f"{kind}_output" for kind in (*_CALLER_TOOLS, "shell_call"))
"""Types of items with the output of the caller's tools. Any other ``_output`` is from a provider's tool."""
_RESULT_FIELDS = ("results", "outputs", "output", "result", "error", "tools")
_ENVELOPE_FIELDS = frozenset({"type", "id", "call_id", "status", *_RESULT_FIELDS})


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    request.system += text_parts(body, "instructions")
    for message in _input_messages(iter_items(body, "instructions", request), request, "system"):
        request.system += message["parts"]
    input_value = get(body, "input")
    if isinstance(input_value, str):
        request.messages.append({"role": "user", "parts": [text_part(input_value)]})
    else:
        request.messages += _input_messages(iter_items(body, "input", request), request, "user")
    request.tools += map(tool_definition, iter_items(body, "tools", request))
    variables = to_json(get(get(body, "prompt"), "variables"))
    if isinstance(variables, dict):
        for key, value in variables.items():
            # Record the id of an image or a file: its data is not text.
            text = value if isinstance(value, str) else get_text(value, "text") or get_text(value, "file_id")
            if text is not None:
                request.variables[key] = text
    return request


def _input_messages(items: Iterable[Any], request: RequestContent | None, default: str) -> list[Message]:
    messages: list[Message] = []
    for item in items:
        kind = get_text(item, "type") or "message"
        if kind == "message":
            role = get_text(item, "role") or default
            parts = read_parts(item, "content", read_part, request)
            if role == "assistant":
                append_turn(messages, role, parts)
            else:
                messages.append({"role": role, "parts": parts})
        elif kind in _CALLER_TOOL_OUTPUTS:
            result = tool_result_part(get_text(item, "call_id"), _output(item, request))
            messages.append({"role": "tool", "parts": [result]})
        else:
            parts = _output_parts(item, kind)
            if parts:
                append_turn(messages, "assistant", parts)
    return messages


def _output(item: Any, request: RequestContent | None) -> Any:
    """Return the output of a tool: text, or a list of parts."""
    output = get(item, "output")
    if output is None or isinstance(output, str):
        return output
    # Keep the output of a shell as JSON: it has no type.
    parts = [
        to_json(block) if (part := read_part(block)) is None else part for block in iter_items(item, "output", request)
    ]
    return parts if parts else to_json(output)


def _output_parts(item: Any, kind: str) -> list[Any]:
    """Return the parts of an item that the model or a provider's tool produced."""
    identifier = get_text(item, "call_id") or get_text(item, "id")
    if kind in _CALLS:
        arguments = get(item, "arguments") if kind == "function_call" else get(item, "input")
        return [tool_call_part(identifier, get_text(item, "name"), arguments)]
    if kind == "reasoning":
        return [
            reasoning_part(thought)
            for name in ("summary", "content")
            for step in iter_items(item, name)
            if (thought := get_text(step, "text")) is not None
        ]
    if kind == "compaction":
        return [{"type": "compaction", **({"id": identifier} if identifier else {})}]
    if kind == "item_reference":
        return []
    return _server_tool_parts(item, kind, identifier)


def _server_tool_parts(item: Any, kind: str, identifier: str | None) -> list[Any]:
    """Return the call of a provider's own tool, and its result if the same item contains it."""
    fields = to_json(item)
    if not isinstance(fields, dict):
        return []
    if kind.endswith("_output"):
        details = {key: value for key, value in fields.items() if key not in ("type", "id", "call_id", "status")}
        return [server_tool_result_part(identifier, kind.removesuffix("_output"), details)]
    name = kind.removesuffix("_call")
    if kind == "image_generation_call":
        data = fields.pop("result", None)
        form = fields.get("output_format")
        mime_type = f"image/{form}" if isinstance(form, str) else "image/png"
        images: list[Any] = [Blob("image", mime_type, data)] if isinstance(data, str) and data else []
        details = {key: value for key, value in fields.items() if key not in _ENVELOPE_FIELDS}
        return [server_tool_call_part(identifier, name, name, details), *images]
    details = {key: value for key, value in fields.items() if key not in _ENVELOPE_FIELDS}
    parts = [server_tool_call_part(identifier, get_text(item, "name") or name, name, details)]
    results = {key: fields[key] for key in _RESULT_FIELDS if fields.get(key) is not None}
    if results:
        parts.append(server_tool_result_part(identifier, name, results))
    return parts


def read_response(response: Any) -> list[Message]:
    # Skip the user's messages, which a compaction repeats: the model did not produce them.
    output = (item for item in iter_items(response, "output") if get_text(item, "role") in (None, "assistant"))
    messages = _input_messages(output, None, "assistant")
    for message in messages:
        message["finish_reason"] = _reason(response, message)
    return messages


def end_reason(response: Any) -> str | None:
    """Return the normalized finish reason of a response, which its status alone does not state."""
    status = get_text(response, "status")
    if status == "incomplete":
        reason = get_text(get(response, "incomplete_details"), "reason")
        return None if reason is None else normalize_finish_reason(reason)
    if status != "completed":
        return None
    item_types = {get_text(item, "type") for item in iter_list(response, "output")}
    # A shell call with its output has run at the provider: the caller need not act.
    called = not item_types.isdisjoint(_CALLER_TOOLS) or (
        "shell_call" in item_types and "shell_call_output" not in item_types
    )
    return "tool_call" if called else "stop"


def _reason(response: Any, message: Message) -> str | None:
    reason = end_reason(response)
    if reason == "stop" and any(isinstance(part, dict) and part["type"] == "tool_call" for part in message["parts"]):
        return "tool_call"  # of a stream whose end event has no output
    status = get_text(response, "status")
    if status in ("failed", "cancelled"):
        return "error"
    return reason or ("incomplete" if status == "incomplete" else None)


DELTA_KINDS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "arguments",
}


class ResponsesContentAccumulator:
    """Accumulator of the content of response stream events.

    The end event carries the complete output. The pieces are for streams that end before it.
    """

    def __init__(self) -> None:
        self._response: Any = None
        self._items: dict[int, Any] = {}
        self._pieces: dict[int, list[tuple[str, str]]] = {}

    def add(self, event: Any) -> str | None:
        try:
            # Fast path: nearly every event is an SDK model that extends an item.
            fields = event.__dict__
            slot, piece = DELTA_KINDS[fields["type"]], fields["delta"]
            if type(piece) is str:
                self._pieces[fields["output_index"]].append((slot, piece))
                return piece
        except (AttributeError, KeyError, TypeError):
            pass
        self._add(event)
        return None

    def _add(self, event: Any) -> None:
        kind = get(event, "type")
        if not isinstance(kind, str):
            return
        slot = DELTA_KINDS.get(kind)
        if slot is not None:
            piece = get(event, "delta")
            if isinstance(piece, str):
                self._pieces.setdefault(get_count(event, "output_index") or 0, []).append((slot, piece))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            index = get_count(event, "output_index") or 0
            self._items[index] = get(event, "item")
            if kind.endswith("done"):
                self._pieces.pop(index, None)
        elif kind in _END:
            self._response = get(event, "response")
            if get(self._response, "output"):
                self._items.clear()
                self._pieces.clear()

    def messages(self) -> list[Message]:
        if get(self._response, "output"):
            return read_response(self._response)
        parts: list[Any] = []
        for index in sorted(self._items.keys() | self._pieces.keys()):
            parts += self._unfinished(index) if index in self._pieces else self._finished(index)
        if not parts:
            return []
        message: Message = {"role": "assistant", "parts": parts}
        message["finish_reason"] = _reason(self._response, message)
        return [message]

    def _finished(self, index: int) -> list[Any]:
        folded = _input_messages([self._items[index]], None, "assistant")
        return [part for message in folded for part in message["parts"]]

    def _unfinished(self, index: int) -> list[Any]:
        slot, item = self._pieces[index][0][0], self._items.get(index)
        text = "".join(piece for _, piece in self._pieces[index])
        if slot == "arguments":
            return [tool_call_part(get_text(item, "call_id"), get_text(item, "name"), text)]
        return [text_part(text) if slot == "text" else reasoning_part(text)]


RESPONSES_CONTENT = ContentFormat(read_request, read_response, ResponsesContentAccumulator)
INPUT_TOKENS_CONTENT = ContentFormat(read_request)
RETRIEVE_RESPONSE_CONTENT = ContentFormat(no_content, read_response, ResponsesContentAccumulator)
