"""OpenAI chat completions: what was asked and said. Legacy completions too, which say less."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from ..._read import as_mapping, get, get_count, get_text
from ...model import Blob, Message, Part, RequestContent
from ...model.content_format import ContentFormat
from .._messages import (
    data_url_part,
    file_part,
    function_tool,
    iter_items,
    media_part,
    reasoning_part,
    text_part,
    tool_call_part,
    tool_result_part,
    unknown_part,
)

__all__ = ["CHAT_CONTENT", "COMPLETIONS_CONTENT", "read_part"]

_THOUGHTS = ("reasoning_content", "reasoning")


def read_request(body: Any) -> RequestContent:
    asked = RequestContent()
    for message in iter_items(body, "messages", asked):
        asked.messages.append(_message(message, asked))
    for tool in iter_items(body, "tools", asked):
        asked.tools.append(_tool(tool))
    for function in iter_items(body, "functions", asked):
        asked.tools.append(function_tool(function, "parameters"))
    return asked


def _tool(tool: Any) -> dict[str, Any]:
    kind = get_text(tool, "type") or "function"
    inner = get(tool, kind)
    if kind == "function":
        return function_tool(inner if inner is not None else tool, "parameters")
    return {"type": kind, "name": get_text(inner, "name") or get_text(tool, "name") or kind}


def _message(message: Any, asked: RequestContent | None) -> Message:
    role = get_text(message, "role") or "user"
    if role in ("tool", "function"):
        identifier = get_text(message, "tool_call_id")
        return {"role": "tool", "parts": [tool_result_part(identifier, _result(message, asked))]}
    found: Message = {"role": role, "parts": _message_parts(message, asked)}
    name = get_text(message, "name")
    if name is not None:
        found["name"] = name
    return found


def _result(message: Any, asked: RequestContent | None) -> Any:
    content = get(message, "content")
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part for item in iter_items(message, "content", asked) if (part := read_part(item)) is not None]
    if all(isinstance(part, dict) and part["type"] == "text" for part in parts):
        return "".join(part["content"] for part in parts if isinstance(part, dict))
    return parts


def _message_parts(message: Any, asked: RequestContent | None = None) -> list[Any]:
    """The parts of one message, thoughts first, as models make them."""
    parts: list[Any] = []
    for name in _THOUGHTS:
        thought = get_text(message, name)
        if thought is not None:
            parts.append(reasoning_part(thought))
            break
    content = get(message, "content")
    if isinstance(content, str):
        if content:
            parts.append(text_part(content))
    else:
        parts += (part for item in iter_items(message, "content", asked) if (part := read_part(item)) is not None)
    refusal = get_text(message, "refusal")
    if refusal is not None:
        parts.append(text_part(refusal))
    parts += _images(message, asked)
    audio = get(message, "audio")
    if audio is not None:
        parts += _audio_part(audio)
    parts += (part for call in iter_items(message, "tool_calls", asked) if (part := _call(call)) is not None)
    function = get(message, "function_call")
    if get(function, "name"):
        parts.append(tool_call_part(None, get_text(function, "name"), get(function, "arguments")))
    return parts


def _images(message: Any, asked: RequestContent | None = None) -> list[Any]:
    """Images that OpenRouter and LiteLLM hand out beside the content."""
    if not get(message, "images"):
        return []
    found = (
        media_part("image", item) if isinstance(item, str) else read_part(item) or _linked_part(item, "image_url")
        for item in iter_items(message, "images", asked)
    )
    return [part for part in found if part is not None]


def _call(call: Any) -> Part | None:
    function = get(call, "function")
    custom = get(call, "custom")
    identifier, name = get_text(call, "id"), get_text(function, "name") or get_text(custom, "name")
    arguments = get(custom, "input") if function is None else get(function, "arguments")
    if identifier is None and name is None and not arguments:
        return None  # some servers end the list with an empty one
    return tool_call_part(identifier, name, arguments)


def _audio_part(audio: Any) -> list[Any]:
    parts: list[Any] = []
    data = get(audio, "data")
    if isinstance(data, (str, bytes)) and data:
        parts.append(Blob("audio", None, data))
    elif (identifier := get_text(audio, "id")) is not None:
        parts.append(file_part(identifier, "audio"))
    transcript = get_text(audio, "transcript")
    if transcript is not None:
        parts.append(text_part(transcript))
    return parts


def read_part(part: Any) -> Part | Blob | None:
    """One content part; ``None`` for what says nothing."""
    if isinstance(part, str):
        return text_part(part)
    kind = get_text(part, "type") or ""
    match kind:
        case "text" | "input_text" | "output_text" | "reasoning_text" | "summary_text":
            content = get(part, "text")
            return text_part(content) if isinstance(content, str) else None
        case "refusal":
            return text_part(get_text(part, "refusal") or "")
        case "thinking":  # mistral
            return reasoning_part(
                "".join(thought for step in iter_items(part, "thinking") if (thought := get_text(step, "text")))
            )
        case "image_url" | "input_image" | "video_url" | "document_url" | "audio_url":
            return _linked_part(part, kind)
        case "input_audio":
            audio = get(part, "input_audio")
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


def read_response(answer: Any) -> list[Message]:
    messages: list[Message] = []
    for choice in iter_items(answer, "choices"):
        message = get(choice, "message")
        parts = _message_parts(message) if message is not None else [text_part(get_text(choice, "text") or "")]
        found: Message = {"role": get_text(message, "role") or "assistant", "parts": parts}
        found["finish_reason"] = get_text(choice, "finish_reason")
        messages.append(found)
    return messages


_TEXT_FIELDS = ("content", *_THOUGHTS, "tool_calls", "refusal", "function_call", "audio", "images")


class _ChoiceAccumulator:
    """One choice of a stream, growing."""

    __slots__ = ("audio", "blocks", "calls", "function", "reason", "refusal", "text", "thought", "transcript")

    def __init__(self) -> None:
        self.text: list[str] = []
        self.thought: list[str] = []
        self.refusal: list[str] = []
        self.audio: list[str] = []
        self.transcript: list[str] = []
        self.blocks: list[Any] = []
        self.calls: dict[Any, tuple[list[str], list[str], list[str]]] = {}
        self.function: tuple[list[str], list[str]] | None = None
        self.reason: str | None = None

    def take(self, delta: Any) -> None:
        told = as_mapping(delta)
        if type(told) is not dict:
            told = {name: get(delta, name) for name in _TEXT_FIELDS}
        # Nearly every delta says one thing: the fields that are there cost less than those there might be.
        for name, value in told.items():
            if not value or name == "role":
                continue
            if name == "content" and type(value) is str:
                self.text.append(value)
            else:
                self._take_other(name, value, delta)

    def _take_other(self, name: str, value: Any, delta: Any) -> None:
        match name:
            case "content":
                self._take_blocks(delta)
            case "reasoning_content" | "reasoning" if isinstance(value, str):
                # Some servers say each thought under both names.
                if name == "reasoning_content" or not get(delta, "reasoning_content"):
                    self.thought.append(value)
            case "tool_calls":
                for call in iter_items(delta, "tool_calls"):
                    self._take_call(call)
            case "refusal" if isinstance(value, str):
                self.refusal.append(value)
            case "function_call":
                if self.function is None:
                    self.function = [], []
                self.function[0].append(get_text(value, "name") or "")
                self.function[1].append(get_text(value, "arguments") or "")
            case "images":
                self.blocks += _images(delta)
            case "audio":
                self.audio.append(get_text(value, "data") or "")
                self.transcript.append(get_text(value, "transcript") or "")

    def _take_blocks(self, delta: Any) -> None:
        for item in iter_items(delta, "content"):
            part = read_part(item)
            if isinstance(part, dict) and part["type"] == "text":
                self.text.append(part["content"])
            elif isinstance(part, dict) and part["type"] == "reasoning":
                self.thought.append(part["content"])
            elif part is not None:
                self.blocks.append(part)

    def _take_call(self, call: Any) -> None:
        index = get_count(call, "index")
        # Some servers leave the index out and send each call whole.
        key: Any = index if index is not None else get_text(call, "id") or len(self.calls)
        known = self.calls.get(key)
        if known is None:
            known = self.calls[key] = [], [], []
        function = get(call, "function") or get(call, "custom")
        for pieces, piece in zip(
            known,
            (
                get_text(call, "id"),
                get_text(function, "name"),
                get_text(function, "arguments") or get_text(function, "input"),
            ),
            strict=True,
        ):
            if piece is not None:
                pieces.append(piece)

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
        for identifier, name, arguments in self.calls.values():
            # Identifier and name come once, or on every piece again.
            parts.append(
                tool_call_part(identifier[0] if identifier else None, name[0] if name else None, "".join(arguments))
            )
        if self.function is not None:
            parts.append(tool_call_part(None, "".join(self.function[0]), "".join(self.function[1])))
        return {"role": "assistant", "parts": parts, "finish_reason": self.reason}


def _join_base64(pieces: list[str]) -> str | bytes:
    """One sound of pieces of base64, each of which is padded on its own."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return b"".join(map(b64decode, pieces))
    except ValueError:
        return "".join(pieces)


class ChatContentAccumulator:
    """Joins chat completion chunks; also those of the legacy completions dialect."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _ChoiceAccumulator] = {}

    def add(self, chunk: Any) -> bool:
        try:
            # Nearly every chunk is a model of the SDK that says some words in one choice, and nothing else.
            own = chunk.__dict__
            (choice,) = own["choices"]
            told, delta = choice.__dict__, choice.__dict__["delta"]
            said = delta.__dict__
            piece, usage = said["content"], own["usage"]
            if piece and type(piece) is str and told["finish_reason"] is None and not delta.__pydantic_extra__:
                others = len(said) - 1 - list(said.values()).count(None)
                if others == (said["role"] is not None):
                    self._choices[told["index"]].text.append(piece)
                    return usage is None
        except (AttributeError, KeyError, TypeError, ValueError):
            pass
        self._add(chunk)
        return False

    def _add(self, chunk: Any) -> None:
        choices = get(chunk, "choices")
        for choice in choices if isinstance(choices, (list, tuple)) else ():
            told = as_mapping(choice)
            if type(told) is not dict:
                told = {name: get(choice, name) for name in ("index", "delta", "text", "finish_reason")}
            index = told.get("index")
            if type(index) is not int:
                index = 0
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = _ChoiceAccumulator()
            delta = told.get("delta")
            if delta is not None:
                known.take(delta)
            elif (said := told.get("text")) and isinstance(said, str):
                known.text.append(said)
            reason = told.get("finish_reason")
            if reason is not None and isinstance(reason, str):
                known.reason = reason or None

    def messages(self) -> list[Message]:
        return [self._choices[index].message() for index in sorted(self._choices)]


def read_prompt(body: Any) -> RequestContent:
    asked = RequestContent()
    prompt = get(body, "prompt")
    # A prompt of token numbers says nothing.
    prompts = [prompt] if isinstance(prompt, str) else iter_items(body, "prompt", asked)
    for item in prompts:
        if isinstance(item, str):
            asked.messages.append({"role": "user", "parts": [text_part(item)]})
    return asked


CHAT_CONTENT = ContentFormat(read_request, read_response, ChatContentAccumulator)
COMPLETIONS_CONTENT = ContentFormat(read_prompt, read_response, ChatContentAccumulator)
