"""OpenAI chat completions: what was asked and said. Legacy completions too, which say less."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from ..._read import fields, peek, text, whole
from ...model import Asked, Blob, Message, Part
from ...model.content_format import ContentFormat
from .._messages import (
    data_url,
    file_part,
    function_tool,
    items,
    media,
    other,
    reasoning,
    tool_call,
    tool_result,
    words,
)

__all__ = ["CHAT_CONTENT", "COMPLETIONS_CONTENT", "read_part"]

_THOUGHTS = ("reasoning_content", "reasoning")


def read_request(body: Any) -> Asked:
    asked = Asked()
    for message in items(body, "messages", asked):
        asked.messages.append(_message(message, asked))
    for tool in items(body, "tools", asked):
        asked.tools.append(_tool(tool))
    for function in items(body, "functions", asked):
        asked.tools.append(function_tool(function, "parameters"))
    return asked


def _tool(tool: Any) -> dict[str, Any]:
    kind = text(tool, "type") or "function"
    inner = peek(tool, kind)
    if kind == "function":
        return function_tool(inner if inner is not None else tool, "parameters")
    return {"type": kind, "name": text(inner, "name") or text(tool, "name") or kind}


def _message(message: Any, asked: Asked | None) -> Message:
    role = text(message, "role") or "user"
    if role in ("tool", "function"):
        identifier = text(message, "tool_call_id")
        return {"role": "tool", "parts": [tool_result(identifier, _result(message, asked))]}
    found: Message = {"role": role, "parts": _said(message, asked)}
    name = text(message, "name")
    if name is not None:
        found["name"] = name
    return found


def _result(message: Any, asked: Asked | None) -> Any:
    content = peek(message, "content")
    if content is None or isinstance(content, str):
        return content or ""
    parts = [part for item in items(message, "content", asked) if (part := read_part(item)) is not None]
    if all(isinstance(part, dict) and part["type"] == "text" for part in parts):
        return "".join(part["content"] for part in parts if isinstance(part, dict))
    return parts


def _said(message: Any, asked: Asked | None = None) -> list[Any]:
    """The parts of one message, thoughts first, as models make them."""
    parts: list[Any] = []
    for name in _THOUGHTS:
        thought = text(message, name)
        if thought is not None:
            parts.append(reasoning(thought))
            break
    content = peek(message, "content")
    if isinstance(content, str):
        if content:
            parts.append(words(content))
    else:
        parts += (part for item in items(message, "content", asked) if (part := read_part(item)) is not None)
    refusal = text(message, "refusal")
    if refusal is not None:
        parts.append(words(refusal))
    parts += _images(message, asked)
    audio = peek(message, "audio")
    if audio is not None:
        parts += _spoken(audio)
    parts += (part for call in items(message, "tool_calls", asked) if (part := _call(call)) is not None)
    function = peek(message, "function_call")
    if peek(function, "name"):
        parts.append(tool_call(None, text(function, "name"), peek(function, "arguments")))
    return parts


def _images(message: Any, asked: Asked | None = None) -> list[Any]:
    """Images that OpenRouter and LiteLLM hand out beside the content."""
    if not peek(message, "images"):
        return []
    found = (
        media("image", item) if isinstance(item, str) else read_part(item) or _linked(item, "image_url")
        for item in items(message, "images", asked)
    )
    return [part for part in found if part is not None]


def _call(call: Any) -> Part | None:
    function = peek(call, "function")
    custom = peek(call, "custom")
    identifier, name = text(call, "id"), text(function, "name") or text(custom, "name")
    arguments = peek(custom, "input") if function is None else peek(function, "arguments")
    if identifier is None and name is None and not arguments:
        return None  # some servers end the list with an empty one
    return tool_call(identifier, name, arguments)


def _spoken(audio: Any) -> list[Any]:
    parts: list[Any] = []
    data = peek(audio, "data")
    if isinstance(data, (str, bytes)) and data:
        parts.append(Blob("audio", None, data))
    elif (identifier := text(audio, "id")) is not None:
        parts.append(file_part(identifier, "audio"))
    transcript = text(audio, "transcript")
    if transcript is not None:
        parts.append(words(transcript))
    return parts


def read_part(part: Any) -> Part | Blob | None:
    """One content part; ``None`` for what says nothing."""
    if isinstance(part, str):
        return words(part)
    kind = text(part, "type") or ""
    match kind:
        case "text" | "input_text" | "output_text" | "reasoning_text" | "summary_text":
            content = peek(part, "text")
            return words(content) if isinstance(content, str) else None
        case "refusal":
            return words(text(part, "refusal") or "")
        case "thinking":  # mistral
            return reasoning("".join(thought for step in items(part, "thinking") if (thought := text(step, "text"))))
        case "image_url" | "input_image" | "video_url" | "document_url" | "audio_url":
            return _linked(part, kind)
        case "input_audio":
            audio = peek(part, "input_audio")
            form, data = text(audio, "format"), peek(audio, "data")
            return Blob("audio", f"audio/{form}" if form else None, data) if isinstance(data, (str, bytes)) else None
        case "file" | "input_file":
            return _file(peek(part, "file") or part)
        case _:
            return other(kind, part) if kind else None


def _linked(part: Any, kind: str) -> Part | Blob | None:
    modality = kind.removeprefix("input_").removesuffix("_url")
    file_id = text(part, "file_id")
    if file_id is not None:
        return file_part(file_id, modality)
    link = peek(part, "image_url") if kind == "input_image" else peek(part, kind)
    return media(modality, link if isinstance(link, str) else text(link, "url"))


def _file(file: Any) -> Part | Blob | None:
    file_id = text(file, "file_id")
    if file_id is not None:
        return file_part(file_id)
    url = text(file, "file_url")
    if url is not None:
        return media("document", url)
    data = peek(file, "file_data")
    if isinstance(data, str) and data:
        return data_url(data) if data.startswith("data:") else Blob("document", None, data)
    return None


def read_response(answer: Any) -> list[Message]:
    messages: list[Message] = []
    for choice in items(answer, "choices"):
        message = peek(choice, "message")
        parts = _said(message) if message is not None else [words(text(choice, "text") or "")]
        found: Message = {"role": text(message, "role") or "assistant", "parts": parts}
        found["finish_reason"] = text(choice, "finish_reason")
        messages.append(found)
    return messages


_SAID = ("content", *_THOUGHTS, "tool_calls", "refusal", "function_call", "audio", "images")


class _Choice:
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
        told = fields(delta)
        if type(told) is not dict:
            told = {name: peek(delta, name) for name in _SAID}
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
                if name == "reasoning_content" or not peek(delta, "reasoning_content"):
                    self.thought.append(value)
            case "tool_calls":
                for call in items(delta, "tool_calls"):
                    self._take_call(call)
            case "refusal" if isinstance(value, str):
                self.refusal.append(value)
            case "function_call":
                if self.function is None:
                    self.function = [], []
                self.function[0].append(text(value, "name") or "")
                self.function[1].append(text(value, "arguments") or "")
            case "images":
                self.blocks += _images(delta)
            case "audio":
                self.audio.append(text(value, "data") or "")
                self.transcript.append(text(value, "transcript") or "")

    def _take_blocks(self, delta: Any) -> None:
        for item in items(delta, "content"):
            part = read_part(item)
            if isinstance(part, dict) and part["type"] == "text":
                self.text.append(part["content"])
            elif isinstance(part, dict) and part["type"] == "reasoning":
                self.thought.append(part["content"])
            elif part is not None:
                self.blocks.append(part)

    def _take_call(self, call: Any) -> None:
        index = whole(call, "index")
        # Some servers leave the index out and send each call whole.
        key: Any = index if index is not None else text(call, "id") or len(self.calls)
        known = self.calls.get(key)
        if known is None:
            known = self.calls[key] = [], [], []
        function = peek(call, "function") or peek(call, "custom")
        for pieces, piece in zip(
            known,
            (text(call, "id"), text(function, "name"), text(function, "arguments") or text(function, "input")),
            strict=True,
        ):
            if piece is not None:
                pieces.append(piece)

    def message(self) -> Message:
        parts: list[Any] = []
        if self.thought:
            parts.append(reasoning("".join(self.thought)))
        if self.text:
            parts.append(words("".join(self.text)))
        if self.refusal:
            parts.append(words("".join(self.refusal)))
        parts += self.blocks
        if any(self.audio):
            parts.append(Blob("audio", None, _sound(self.audio)))
        if any(self.transcript):
            parts.append(words("".join(self.transcript)))
        for identifier, name, arguments in self.calls.values():
            # Identifier and name come once, or on every piece again.
            parts.append(
                tool_call(identifier[0] if identifier else None, name[0] if name else None, "".join(arguments))
            )
        if self.function is not None:
            parts.append(tool_call(None, "".join(self.function[0]), "".join(self.function[1])))
        return {"role": "assistant", "parts": parts, "finish_reason": self.reason}


def _sound(pieces: list[str]) -> str | bytes:
    """One sound of pieces of base64, each of which is padded on its own."""
    if not any(piece.endswith("=") for piece in pieces[:-1]):
        return "".join(pieces)
    try:
        return b"".join(map(b64decode, pieces))
    except ValueError:
        return "".join(pieces)


class Joiner:
    """Joins chat completion chunks; also those of the legacy completions dialect."""

    __slots__ = ("_choices",)

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

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
        choices = peek(chunk, "choices")
        for choice in choices if isinstance(choices, (list, tuple)) else ():
            told = fields(choice)
            if type(told) is not dict:
                told = {name: peek(choice, name) for name in ("index", "delta", "text", "finish_reason")}
            index = told.get("index")
            if type(index) is not int:
                index = 0
            known = self._choices.get(index)
            if known is None:
                known = self._choices[index] = _Choice()
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


def read_prompt(body: Any) -> Asked:
    asked = Asked()
    prompt = peek(body, "prompt")
    # A prompt of token numbers says nothing.
    prompts = [prompt] if isinstance(prompt, str) else items(body, "prompt", asked)
    for item in prompts:
        if isinstance(item, str):
            asked.messages.append({"role": "user", "parts": [words(item)]})
    return asked


CHAT_CONTENT = ContentFormat(read_request, read_response, Joiner)
COMPLETIONS_CONTENT = ContentFormat(read_prompt, read_response, Joiner)
