"""Content of OpenAI chat completions and legacy completions: prompts and responses."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ..._read import as_mapping, get, get_count, get_text
from ...model import Blob, Message, Part, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    count_encoded,
    data_url_part,
    file_part,
    function_tool,
    iter_items,
    join_texts,
    media_part,
    read_parts,
    reasoning_part,
    text_part,
    text_parts,
    tool_call_part,
    tool_definition,
    tool_result_part,
    unknown_part,
)

__all__ = ["CHAT_CONTENT", "COMPLETIONS_CONTENT", "read_part"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    for message in iter_items(body, "messages", request):
        request.messages.append(_message(message, request))
    request.tools += map(tool_definition, iter_items(body, "tools", request))
    for function in iter_items(body, "functions", request):
        request.tools.append(function_tool(function, "parameters"))
    return request


def _message(message: Any, request: RequestContent | None) -> Message:
    role = get_text(message, "role") or "user"
    if role in ("tool", "function"):
        result = join_texts(read_parts(message, "content", read_part, request)) or ""
        return {"role": "tool", "parts": [tool_result_part(get_text(message, "tool_call_id"), result)]}
    converted: Message = {"role": role, "parts": _message_parts(message, request)}
    if (name := get_text(message, "name")) is not None:
        converted["name"] = name
    return converted


def _message_parts(message: Any, request: RequestContent | None = None) -> list[Any]:
    """Return the parts of one message, reasoning first, in the order that models produce them."""
    parts: list[Any] = []
    if (thought := get_text(message, "reasoning_content") or get_text(message, "reasoning")) is not None:
        parts.append(reasoning_part(thought))
    content = get(message, "content")
    if isinstance(content, str):
        parts += [text_part(content)] if content else ()
    else:
        parts += read_parts(message, "content", read_part, request)
    if (refusal := get_text(message, "refusal")) is not None:
        parts.append(text_part(refusal))
    parts += _images(message, request)
    if (audio := get(message, "audio")) is not None:
        parts += _audio_parts(audio)
    parts += (part for call in iter_items(message, "tool_calls", request) if (part := _call(call)) is not None)
    function = get(message, "function_call")
    if get(function, "name"):
        parts.append(tool_call_part(None, get_text(function, "name"), get(function, "arguments")))
    return parts


def _images(message: Any, request: RequestContent | None = None) -> list[Any]:
    """Return images, which OpenRouter and LiteLLM send in a field next to the content."""
    if not get(message, "images"):
        return []
    images = (
        media_part("image", item) if isinstance(item, str) else read_part(item) or _linked_part(item, "image_url")
        for item in iter_items(message, "images", request)
    )
    return [part for part in images if part is not None]


def _call(call: Any) -> Part | None:
    function = get(call, "function")
    custom = get(call, "custom")
    identifier, name = get_text(call, "id"), get_text(function, "name") or get_text(custom, "name")
    arguments = get(custom, "input") if function is None else get(function, "arguments")
    if identifier is None and name is None and not arguments:
        return None  # some servers end the list with an empty call
    return tool_call_part(identifier, name, arguments)


def _audio_parts(audio: Any) -> list[Any]:
    data, transcript = get(audio, "data"), text_parts(audio, "transcript")
    if isinstance(data, (str, bytes)) and data:
        return [Blob("audio", None, data), *transcript]
    identifier = get_text(audio, "id")
    return transcript if identifier is None else [file_part(identifier, "audio"), *transcript]


def read_part(part: Any) -> Part | Blob | None:
    """Return one content part, or ``None`` if it holds no content."""
    if isinstance(part, str):
        return text_part(part)
    kind = get_text(part, "type") or ""
    match kind:
        case "text" | "input_text" | "output_text" | "reasoning_text" | "summary_text":
            content = get(part, "text")
            return text_part(content) if isinstance(content, str) else None
        case "refusal":
            return text_part(get_text(part, "refusal") or "")
        case "thinking":  # Mistral
            return reasoning_part(
                "".join(thought for step in iter_items(part, "thinking") if (thought := get_text(step, "text")))
            )
        case "image_url" | "input_image" | "video_url" | "document_url" | "audio_url":
            return _linked_part(part, kind)
        case "input_audio":
            audio = get(part, "input_audio") or part
            form, data = get_text(audio, "format"), get(audio, "data")
            return Blob("audio", f"audio/{form}" if form else None, data) if isinstance(data, (str, bytes)) else None
        case "file" | "input_file":
            return _file(get(part, "file") or part)
        case _:
            return unknown_part(kind, part) if kind else None


def _linked_part(part: Any, kind: str) -> Part | Blob | None:
    modality = kind.removeprefix("input_").removesuffix("_url")
    file_id = get_text(part, "file_id")
    if file_id is not None:
        return file_part(file_id, modality)
    link = get(part, "image_url") if kind == "input_image" else get(part, kind)
    return media_part(modality, link if isinstance(link, str) else get_text(link, "url"))


def _file(file: Any) -> Part | Blob | None:
    file_id = get_text(file, "file_id")
    if file_id is not None:
        return file_part(file_id)
    url = get_text(file, "file_url")
    if url is not None:
        return media_part("document", url)
    data = get(file, "file_data")
    if isinstance(data, str) and data:
        return data_url_part(data) if data.startswith("data:") else Blob("document", None, data)
    return None


def read_response(response: Any) -> list[Message]:
    messages: list[Message] = []
    for choice in iter_items(response, "choices"):
        message = get(choice, "message")
        parts = _message_parts(message) if message is not None else [text_part(get_text(choice, "text") or "")]
        reason = get_text(choice, "finish_reason")
        messages.append({"role": get_text(message, "role") or "assistant", "parts": parts, "finish_reason": reason})
    return messages


_TEXT_FIELDS = (
    "content",
    "reasoning_content",
    "reasoning",
    "tool_calls",
    "refusal",
    "function_call",
    "audio",
    "images",
)


@dataclass(slots=True, eq=False)
class _ChoiceAccumulator:
    """Accumulator of the content of one choice of a stream."""

    text: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    audio: list[str] = field(default_factory=list)
    transcript: list[str] = field(default_factory=list)
    blocks: list[Any] = field(default_factory=list)
    calls: defaultdict[Any, defaultdict[str, list[str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    reason: str | None = None

    def add(self, delta: Any) -> None:
        fields = as_mapping(delta)
        if type(fields) is not dict:
            fields = {name: get(delta, name) for name in _TEXT_FIELDS}
        # Iterate over the fields that are present: nearly every delta has one.
        for name, value in fields.items():
            if not value or name == "role":
                continue
            if name == "content" and type(value) is str:
                self.text.append(value)
            else:
                self._add_field(name, value, delta)

    def _add_field(self, name: str, value: Any, delta: Any) -> None:
        match name:
            case "content":
                self._add_blocks(delta)
            case "reasoning_content" | "reasoning" if isinstance(value, str):
                # Some servers send each thought under both names.
                if name == "reasoning_content" or not get(delta, "reasoning_content"):
                    self.thought.append(value)
            case "tool_calls":
                for call in iter_items(delta, "tool_calls"):
                    self._add_call(call)
            case "refusal" if isinstance(value, str):
                self.refusal.append(value)
            case "function_call":
                self._add_call({"function": value}, name)
            case "images":
                self.blocks += _images(delta)
            case "audio":
                self.audio.append(get_text(value, "data") or "")
                self.transcript.append(get_text(value, "transcript") or "")

    def _add_blocks(self, delta: Any) -> None:
        for item in iter_items(delta, "content"):
            part = read_part(item)
            if isinstance(part, dict) and part["type"] == "text":
                self.text.append(part["content"])
            elif isinstance(part, dict) and part["type"] == "reasoning":
                self.thought.append(part["content"])
            elif part is not None:
                self.blocks.append(part)

    def _add_call(self, call: Any, key: Any = None) -> None:
        if key is None and (key := get_count(call, "index")) is None:
            # Some servers omit the index and send each call in one piece.
            key = get_text(call, "id") or len(self.calls)
        accumulated = self.calls[key]
        function = get(call, "function") or get(call, "custom")
        accumulated["id"].append(get_text(call, "id") or "")
        accumulated["name"].append(get_text(function, "name") or "")
        accumulated["arguments"].append(get_text(function, "arguments") or get_text(function, "input") or "")

    def message(self) -> Message:
        parts: list[Any] = []
        if self.thought:
            parts.append(reasoning_part("".join(self.thought)))
        if self.text:
            parts.append(text_part("".join(self.text)))
        if self.refusal:
            parts.append(text_part("".join(self.refusal)))
        parts += self.blocks
        if any(self.audio):
            parts.append(Blob("audio", None, _join_base64(self.audio)))
        if any(self.transcript):
            parts.append(text_part("".join(self.transcript)))
        for _, pieces in sorted(self.calls.items(), key=lambda item: item[0] == "function_call"):
            # Use the first identifier and name: some servers repeat them with every piece.
            identifier, name = (next(filter(None, pieces[key]), None) for key in ("id", "name"))
            parts.append(tool_call_part(identifier, name, "".join(pieces["arguments"])))
        return {"role": "assistant", "parts": parts, "finish_reason": self.reason}


def _join_base64(pieces: list[str]) -> str | bytes:
    """Join base64 pieces of one audio, decoding them if they are padded one by one."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return b"".join(map(b64decode, pieces))
    except ValueError:
        return "".join(pieces)


_FIELDS_OF_TEXT = frozenset({"role", "content"})


def _holds_only_text(delta_fields: dict[str, Any]) -> bool:
    """Return true if the other fields of a delta with text are null."""
    others = len(delta_fields) - 1 - list(delta_fields.values()).count(None)
    return others == (delta_fields["role"] is not None)


class ChatContentAccumulator:
    """Accumulator of the content of chat completion chunks, including those of legacy completions."""

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceAccumulator] = {}

    def add(self, chunk: Any) -> str | None:
        try:
            # Fast path: nearly every chunk is an SDK model with text in one choice and nothing else.
            chunk_fields = chunk.__dict__
            (choice,) = chunk_fields["choices"]
            choice_fields, delta = choice.__dict__, choice.__dict__["delta"]
            delta_fields = delta.__dict__
            piece, usage = delta_fields["content"], chunk_fields["usage"]
            if (
                piece
                and type(piece) is str
                and choice_fields["finish_reason"] is None
                and not delta.__pydantic_extra__
                and (delta.__pydantic_fields_set__ <= _FIELDS_OF_TEXT or _holds_only_text(delta_fields))
            ):
                self._choices[choice_fields["index"]].text.append(piece)
                return piece if usage is None else None
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        self._add(chunk)
        return None

    def _add(self, chunk: Any) -> None:
        choices = get(chunk, "choices")
        for choice in choices if isinstance(choices, (list, tuple)) else ():
            fields = as_mapping(choice)
            if type(fields) is not dict:
                fields = {name: get(choice, name) for name in ("index", "delta", "text", "finish_reason")}
            index = fields.get("index")
            if type(index) is not int:
                index = 0
            if (accumulator := self._choices.get(index)) is None:
                accumulator = self._choices[index] = _ChoiceAccumulator()
            delta = fields.get("delta")
            if delta is not None:
                accumulator.add(delta)
            elif (text := fields.get("text")) and isinstance(text, str):
                accumulator.text.append(text)
            reason = fields.get("finish_reason")
            if reason is not None and isinstance(reason, str):
                accumulator.reason = reason or None

    def messages(self) -> list[Message]:
        return [self._choices[index].message() for index in sorted(self._choices)]


def read_prompt(body: Any) -> RequestContent:
    request = RequestContent()
    prompt = get(body, "prompt")
    prompts = [prompt] if isinstance(prompt, str) else iter_items(body, "prompt", request)
    for item in prompts:
        if isinstance(item, str):
            request.messages.append({"role": "user", "parts": [text_part(item)]})
        else:
            request.token_count += count_encoded(item)
    return request


CHAT_CONTENT = ContentFormat(read_request, read_response, ChatContentAccumulator)
COMPLETIONS_CONTENT = ContentFormat(read_prompt, read_response, ChatContentAccumulator)
