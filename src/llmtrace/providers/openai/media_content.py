"""OpenAI images and audio: the prompt, and what was made of it."""

from __future__ import annotations

from typing import Any

from ..._read import peek, text
from ...model import Asked, Blob, Message
from ...model.content_format import ContentFormat
from .._messages import items, media, words

__all__ = ["IMAGES_CONTENT", "MODERATIONS_CONTENT", "SPEECH_CONTENT", "TRANSCRIPTIONS_CONTENT"]


def read_request(body: Any) -> Asked:
    asked = Asked()
    instructions = text(body, "instructions")
    if instructions is not None:
        asked.system.append(words(instructions))
    said = text(body, "prompt") or text(body, "input")
    if said is not None:
        asked.messages.append({"role": "user", "parts": [words(said)]})
    return asked


def read_images(answer: Any) -> list[Message]:
    form = text(answer, "output_format")
    parts: list[Any] = []
    for image in items(answer, "data"):
        data = peek(image, "b64_json")
        if isinstance(data, str) and data:
            parts.append(Blob("image", f"image/{form or 'png'}", data))
        elif (link := media("image", peek(image, "url"))) is not None:
            parts.append(link)
    return [{"role": "assistant", "parts": parts, "finish_reason": "stop"}] if parts else []


def read_transcript(answer: Any) -> list[Message]:
    said = answer if isinstance(answer, str) else text(answer, "text")
    return [{"role": "assistant", "parts": [words(said)], "finish_reason": "stop"}] if said else []


class Joiner:
    """Joins the events of a streamed transcript or image."""

    __slots__ = ("_done", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._done: list[Message] = []

    def add(self, event: Any) -> None:
        match peek(event, "type"):
            case "transcript.text.delta":
                self._pieces.append(text(event, "delta") or "")
            case "transcript.text.done":
                self._done = read_transcript(event)
            case "image_generation.completed" | "image_edit.completed":
                self._done = read_images({"data": [event], "output_format": peek(event, "output_format")})

    def messages(self) -> list[Message]:
        if self._done or not self._pieces:
            return self._done
        return [{"role": "assistant", "parts": [words("".join(self._pieces))], "finish_reason": None}]


def read_judged(body: Any) -> Asked:
    """What a moderation is asked of: a text, texts, or parts with images."""
    asked = Asked()
    given = peek(body, "input")
    parts: list[Any] = []
    for item in [given] if isinstance(given, str) else items(body, "input", asked):
        said = item if isinstance(item, str) else text(item, "text")
        part = words(said) if said is not None else media("image", text(peek(item, "image_url"), "url"))
        if part is not None:
            parts.append(part)
    if parts:
        asked.messages.append({"role": "user", "parts": parts})
    return asked


MODERATIONS_CONTENT = ContentFormat(read_judged)
IMAGES_CONTENT = ContentFormat(read_request, read_images, Joiner)
SPEECH_CONTENT = ContentFormat(read_request)
TRANSCRIPTIONS_CONTENT = ContentFormat(read_request, read_transcript, Joiner)
