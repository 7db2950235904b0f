"""Content of OpenAI images, audio and moderations: the input and the result."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text
from ...model import Blob, Message, RequestContent
from ...model.content_format import ContentFormat
from .._messages import iter_items, media_part, text_part

__all__ = ["IMAGES_CONTENT", "MODERATIONS_CONTENT", "SPEECH_CONTENT", "TRANSCRIPTIONS_CONTENT"]


def read_request(body: Any) -> RequestContent:
    request = RequestContent()
    instructions = get_text(body, "instructions")
    if instructions is not None:
        request.system.append(text_part(instructions))
    prompt = get_text(body, "prompt") or get_text(body, "input")
    if prompt is not None:
        request.messages.append({"role": "user", "parts": [text_part(prompt)]})
    return request


def read_images(response: Any) -> list[Message]:
    form = get_text(response, "output_format")
    parts: list[Any] = []
    for image in iter_items(response, "data"):
        data = get(image, "b64_json")
        if isinstance(data, str) and data:
            parts.append(Blob("image", f"image/{form or 'png'}", data))
        elif (link := media_part("image", get(image, "url"))) is not None:
            parts.append(link)
    return [{"role": "assistant", "parts": parts, "finish_reason": "stop"}] if parts else []


def read_transcript(response: Any) -> list[Message]:
    text = response if isinstance(response, str) else get_text(response, "text")
    return [{"role": "assistant", "parts": [text_part(text)], "finish_reason": "stop"}] if text else []


class MediaContentAccumulator:
    """Joins the events of a streamed transcript or image."""

    __slots__ = ("_done", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._done: list[Message] = []

    def add(self, event: Any) -> None:
        match get(event, "type"):
            case "transcript.text.delta":
                self._pieces.append(get_text(event, "delta") or "")
            case "transcript.text.done":
                self._done = read_transcript(event)
            case "image_generation.completed" | "image_edit.completed":
                self._done = read_images({"data": [event], "output_format": get(event, "output_format")})

    def messages(self) -> list[Message]:
        if self._done or not self._pieces:
            return self._done
        return [{"role": "assistant", "parts": [text_part("".join(self._pieces))], "finish_reason": None}]


def read_moderation_input(body: Any) -> RequestContent:
    """Read the input of a moderation: a text, several texts, or parts with images."""
    request = RequestContent()
    value = get(body, "input")
    parts: list[Any] = []
    for item in [value] if isinstance(value, str) else iter_items(body, "input", request):
        text = item if isinstance(item, str) else get_text(item, "text")
        part = text_part(text) if text is not None else media_part("image", get_text(get(item, "image_url"), "url"))
        if part is not None:
            parts.append(part)
    if parts:
        request.messages.append({"role": "user", "parts": parts})
    return request


MODERATIONS_CONTENT = ContentFormat(read_moderation_input)
IMAGES_CONTENT = ContentFormat(read_request, read_images, MediaContentAccumulator)
SPEECH_CONTENT = ContentFormat(read_request)
TRANSCRIPTIONS_CONTENT = ContentFormat(read_request, read_transcript, MediaContentAccumulator)
