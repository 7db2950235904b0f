"""OpenAI responses: what was asked and said. All that a model made in one answer is one message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import Blob, Message, RequestContent, normalize_finish_reason
from ...model.content_format import ContentFormat
from .._messages import (
    append_turn,
    data_url_part,
    file_part,
    function_tool,
    iter_items,
    media_part,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    text_part,
    to_json,
    tool_call_part,
    tool_result_part,
    unknown_part,
)

__all__ = ["INPUT_TOKENS_CONTENT", "RESPONSES_CONTENT", "RETRIEVE_CONTENT", "end_reason"]

_END = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")
_CALLS = frozenset({"function_call", "custom_tool_call"})
_CALLER_TOOLS = _CALLS | {"computer_call", "local_shell_call", "apply_patch_call"}
"""What the caller is to do, whatever its form."""
_ANSWERS = frozenset(
    f"{kind}_output"
    for kind in (
        "function_call",
        "custom_tool_call",
        "computer_call",
        "local_shell_call",
        "shell_call",
        "apply_patch_call",
    )
)
"""What the caller's own tools answered; any other ``_output`` is of a tool of the provider's."""
_RESULTS = ("results", "outputs", "output", "result", "error", "tools")
_FRAME = frozenset({"type", "id", "call_id", "status", *_RESULTS})


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    instructions = get(body, "instructions")
    if isinstance(instructions, str):
        if instructions:
            asked.system.append(text_part(instructions))
    else:
        for message in _input_messages(iter_items(body, "instructions", asked), asked, "system"):
            asked.system += message["parts"]
    given = get(body, "input")
    if isinstance(given, str):
        asked.messages.append({"role": "user", "parts": [text_part(given)]})
    else:
        asked.messages += _input_messages(iter_items(body, "input", asked), asked, "user")
    for tool in iter_items(body, "tools", asked):
        asked.tools.append(_tool(tool))
    variables = to_json(get(get(body, "prompt"), "variables"))
    if isinstance(variables, dict):
        for key, value in variables.items():
            # Of an image or a file, where it is kept: its data is no text.
            told = value if isinstance(value, str) else get_text(value, "text") or get_text(value, "file_id")
            if told is not None:
                asked.variables[key] = told
    return asked


def _tool(tool: Any) -> dict[str, Any]:
    kind = get_text(tool, "type") or "function"
    if kind == "function":
        return function_tool(tool, "parameters")
    return {"type": kind, "name": get_text(tool, "name") or get_text(tool, "server_label") or kind}


def _input_messages(given: Iterable[Any], asked: RequestContent | None, default: str) -> list[Message]:
    messages: list[Message] = []
    for item in given:
        kind = get_text(item, "type") or "message"
        if kind == "message":
            role = get_text(item, "role") or default
            parts = _content(item, asked)
            if role == "assistant":
                append_turn(messages, role, parts)
            else:
                messages.append({"role": role, "parts": parts})
        elif kind in _ANSWERS:
            messages.append(
                {"role": "tool", "parts": [tool_result_part(get_text(item, "call_id"), _output(item, asked))]}
            )
        else:
            parts = _output_parts(item, kind)
            if parts:
                append_turn(messages, "assistant", parts)
    return messages


def _content(item: Any, asked: RequestContent | None) -> list[Any]:
    content = get(item, "content")
    if isinstance(content, str):
        return [text_part(content)] if content else []
    return [part for block in iter_items(item, "content", asked) if (part := _part(block)) is not None]


def _part(block: Any) -> Any:
    if isinstance(block, str):
        return text_part(block)
    kind = get_text(block, "type") or ""
    match kind:
        case "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text":
            content = get(block, "text")
            return text_part(content) if isinstance(content, str) else None
        case "refusal":
            return text_part(get_text(block, "refusal") or "")
        case "input_image":
            file_id = get_text(block, "file_id")
            return media_part("image", get(block, "image_url")) if file_id is None else file_part(file_id, "image")
        case "input_audio":
            audio = get(block, "input_audio") or block
            form, data = get_text(audio, "format"), get(audio, "data")
            return Blob("audio", f"audio/{form}" if form else None, data) if isinstance(data, (str, bytes)) else None
        case "input_file":
            return _file(block)
        case _:
            return unknown_part(kind, block) if kind else None


def _file(block: Any) -> Any:
    if (file_id := get_text(block, "file_id")) is not None:
        return file_part(file_id)
    if (url := get_text(block, "file_url")) is not None:
        return media_part("document", url)
    data = get_text(block, "file_data")
    if data is None:
        return None
    return data_url_part(data) if data.startswith("data:") else Blob("document", None, data)


def _output(item: Any, asked: RequestContent | None) -> Any:
    """What a tool answered: text, or a list of parts."""
    output = get(item, "output")
    if output is None or isinstance(output, str):
        return output
    # What a shell wrote is of no type.
    parts = [to_json(block) if (part := _part(block)) is None else part for block in iter_items(item, "output", asked)]
    return parts if parts else to_json(output)


def _output_parts(item: Any, kind: str) -> list[Any]:
    """The parts of an item that the model, or a tool of the provider's, made."""
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
    """A provider's own tool: the call, and the outcome that stands in the same item."""
    found = to_json(item)
    if not isinstance(found, dict):
        return []
    if kind.endswith("_output"):
        details = {key: value for key, value in found.items() if key not in ("type", "id", "call_id", "status")}
        return [server_tool_result_part(identifier, kind.removesuffix("_output"), details)]
    name = kind.removesuffix("_call")
    if kind == "image_generation_call":
        data = found.pop("result", None)
        made: list[Any] = [Blob("image", _mime(found), data)] if isinstance(data, str) and data else []
        details = {key: value for key, value in found.items() if key not in _FRAME}
        return [server_tool_call_part(identifier, name, name, details), *made]
    details = {key: value for key, value in found.items() if key not in _FRAME}
    parts = [server_tool_call_part(identifier, get_text(item, "name") or name, name, details)]
    results = {key: found[key] for key in _RESULTS if found.get(key) is not None}
    if results:
        parts.append(server_tool_result_part(identifier, name, results))
    return parts


def _mime(found: dict[str, Any]) -> str:
    form = found.get("output_format")
    return f"image/{form}" if isinstance(form, str) else "image/png"


def read_response(answer: Any) -> list[Message]:
    # A compaction repeats what it kept of the user's side: nothing that was made.
    made = (item for item in iter_items(answer, "output") if get_text(item, "role") in (None, "assistant"))
    messages = _input_messages(made, None, "assistant")
    for message in messages:
        message["finish_reason"] = _reason(answer, message)
    return messages


def end_reason(answer: Any) -> str | None:
    """Why, in the convention's words, an answer ended whose status says only that it did."""
    status = get_text(answer, "status")
    if status == "incomplete":
        reason = get_text(get(answer, "incomplete_details"), "reason")
        return None if reason is None else normalize_finish_reason(reason)
    if status != "completed":
        return None
    made = {get_text(item, "type") for item in iter_list(answer, "output")}
    # A shell may be the provider's own, which has run then.
    called = not made.isdisjoint(_CALLER_TOOLS) or ("shell_call" in made and "shell_call_output" not in made)
    return "tool_call" if called else "stop"


def _reason(answer: Any, message: Message) -> str | None:
    reason = end_reason(answer)
    if reason == "stop" and any(isinstance(part, dict) and part["type"] == "tool_call" for part in message["parts"]):
        return "tool_call"  # of a stream whose end event repeats nothing
    match get_text(answer, "status"):
        case "failed" | "cancelled":
            return "error"
        case "incomplete":
            return reason or "incomplete"
        case _:
            return reason


_TEXTS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "thought",
    "response.reasoning_text.delta": "thought",
    "response.function_call_arguments.delta": "arguments",
    "response.custom_tool_call_input.delta": "arguments",
}


class ResponsesContentAccumulator:
    """Joins response stream events. The end event carries all; the pieces are for streams that do not get there."""

    __slots__ = ("_answer", "_items", "_pieces")

    def __init__(self) -> None:
        self._answer: Any = None
        self._items: dict[int, Any] = {}
        self._pieces: dict[int, list[tuple[str, str]]] = {}

    def add(self, event: Any) -> bool:
        try:
            # Nearly every event is a model of the SDK that adds to an item.
            told = event.__dict__
            slot, piece = _TEXTS[told["type"]], told["delta"]
            if type(piece) is str:
                self._pieces[told["output_index"]].append((slot, piece))
                return True
        except (AttributeError, KeyError, TypeError):
            pass
        self._add(event)
        return False

    def _add(self, event: Any) -> None:
        kind = get(event, "type")
        if not isinstance(kind, str):
            return
        slot = _TEXTS.get(kind)
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
            self._answer = get(event, "response")
            if get(self._answer, "output"):
                self._items.clear()
                self._pieces.clear()

    def messages(self) -> list[Message]:
        if get(self._answer, "output"):
            return read_response(self._answer)
        parts: list[Any] = []
        for index in sorted(self._items.keys() | self._pieces.keys()):
            parts += self._unfinished(index) if index in self._pieces else self._finished(index)
        if not parts:
            return []
        message: Message = {"role": "assistant", "parts": parts}
        message["finish_reason"] = _reason(self._answer, message)
        return [message]

    def _finished(self, index: int) -> list[Any]:
        folded = _input_messages([self._items[index]], None, "assistant")
        return [part for message in folded for part in message["parts"]]

    def _unfinished(self, index: int) -> list[Any]:
        pieces = self._pieces[index]
        item = self._items.get(index)
        if pieces[0][0] == "arguments":
            return [
                tool_call_part(get_text(item, "call_id"), get_text(item, "name"), "".join(piece for _, piece in pieces))
            ]
        said = "".join(piece for _, piece in pieces)
        return [text_part(said) if pieces[0][0] == "text" else reasoning_part(said)]


RESPONSES_CONTENT = ContentFormat(read_request, read_response, ResponsesContentAccumulator)
INPUT_TOKENS_CONTENT = ContentFormat(read_request)
RETRIEVE_CONTENT = ContentFormat(lambda _: RequestContent(), read_response, ResponsesContentAccumulator)
