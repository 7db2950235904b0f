"""OpenAI images, audio and moderations. Moderations are free of charge, and their results are not recorded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ..._read import get, get_number, get_text
from ...capture.error_body import read_error
from ...model import Blob, Counts, Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._messages import iter_items, media_part, read_parts, text_part, text_parts
from .._usage import Reported, read_openai_usage

__all__ = ["IMAGES", "MODERATIONS", "SPEECH", "TRANSCRIPTIONS"]

_END = ("transcript.text.done", "image_generation.completed", "image_edit.completed", "speech.audio.done")
_KINDS = ("transcript.", "image_", "speech.")
_TOGETHER_AUDIO = "audio.tts.chunk"
"""Chunk of Together's streams of speech, which have no last event."""
_CHARACTER_BILLED_PREFIXES = ("tts-", "canopylabs/")
"""Prefixes of the names of models that are billed by input characters, at OpenAI and at Groq."""


def read_request(output: str, body: Any) -> Request:
    stream = get(body, "stream") is True
    return Request("generate_content", get_text(body, "model"), stream, output_type=output)


def read_speech_request(body: Any) -> Request:
    request = read_request("speech", body)
    text = get(body, "input")
    if isinstance(text, str) and (request.model or "").startswith(_CHARACTER_BILLED_PREFIXES):
        request.characters = len(text)
    return request


def read_response(response: Any) -> Response:
    reported = Reported(get(response, "usage"))
    if not reported.counts:
        # Use the audio's duration in a verbose transcript: servers without other usage bill by it.
        seconds = get_number(response, "duration")
        if seconds is not None and seconds > 0:
            reported.counts["audio_seconds"] = seconds
    return reported.fill_openai(Response(model=get_text(response, "model")))


def _as_images(counts: Counts | None) -> Counts:
    """Count all output tokens as image tokens, except those reported as text."""
    result = counts or {}
    if "output" in result:
        result.setdefault("image_output", result["output"] - result.get("text_output", 0))
    return result


def read_image_usage(usage: Any) -> Counts:
    return _as_images(read_openai_usage(usage))


def read_images(response: Any) -> Response:
    """Read a response with images, which are counted since some models are billed per image."""
    result = read_image_event(response)
    usage = result.usage or {}
    images = get(response, "data")
    if isinstance(images, list):
        usage["images"] = len(images)
    else:
        usage.pop("images", None)
    result.usage = usage or None
    # A text model writes an SVG before the image model renders it, and is billed in addition.
    svg_usage = get(response, "svg_usage")
    svg_counts = read_openai_usage(svg_usage) or {}
    if any(svg_counts.values()):
        result.additional_usage = ((get_text(svg_usage, "model") or "svg", svg_counts),)
    return result


def read_image_event(event: Any) -> Response:
    response = Reported(get(event, "usage")).fill_openai(Response(model=get_text(event, "model")))
    response.usage = {**_as_images(response.usage), "images": 1}
    return response


@dataclass(slots=True, eq=False)
class MediaAccumulator:
    """Accumulator of the events of a streamed image, speech or transcript."""

    _read: Callable[[Any], Response] = read_response
    _response: Response = field(default_factory=lambda: Response(complete=False))
    _saw_content: bool = False
    ended: bool = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or get_text(event, "object") or ""
        if kind == _TOGETHER_AUDIO:
            self._saw_content = self.ended = True
        elif kind.endswith((".delta", ".partial_image")):
            self._saw_content = True
        elif kind in _END:
            self._saw_content = self.ended = True
            self._response = self._read(event)
        elif not kind.startswith(_KINDS):
            error = read_error(event)
            self._response = replace(self._response, error=error, failed=error is not None)
        return self._saw_content

    def result(self) -> Response:
        return replace(self._response, complete=self.ended)


def read_moderation_request(body: Any) -> Request:
    return Request(operation="moderation", model=get_text(body, "model"))


def read_moderation(response: Any) -> Response:
    return Response(id=get_text(response, "id"), model=get_text(response, "model"))


def read_content(body: Any) -> RequestContent:
    prompt = text_parts(body, "prompt", "input")[:1]
    return RequestContent(text_parts(body, "instructions"), [{"role": "user", "parts": prompt}] if prompt else [])


def read_image_content(response: Any) -> list[Message]:
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
                self._done = read_image_content({"data": [event], "output_format": get(event, "output_format")})

    def messages(self) -> list[Message]:
        if self._done or not self._pieces:
            return self._done
        return [{"role": "assistant", "parts": [text_part("".join(self._pieces))], "finish_reason": None}]


def read_moderation_input(body: Any) -> RequestContent:
    """Read the input of a moderation: a text, several texts, or parts with images."""
    request = RequestContent()
    if parts := read_parts(body, "input", _moderated_part, request):
        request.messages.append({"role": "user", "parts": parts})
    return request


def _moderated_part(item: Any) -> Any:
    text = item if isinstance(item, str) else get_text(item, "text")
    return media_part("image", get_text(get(item, "image_url"), "url")) if text is None else text_part(text)


_IMAGES_CONTENT = ContentFormat(read_content, read_image_content, MediaContentAccumulator)
_TRANSCRIPTS_CONTENT = ContentFormat(read_content, read_transcript, MediaContentAccumulator)
IMAGES = WireFormat(
    partial(read_request, "image"), read_images, partial(MediaAccumulator, read_image_event), _IMAGES_CONTENT
)
SPEECH = WireFormat(read_speech_request, read_response, MediaAccumulator, ContentFormat(read_content))
TRANSCRIPTIONS = WireFormat(partial(read_request, "text"), read_response, MediaAccumulator, _TRANSCRIPTS_CONTENT)
MODERATIONS = WireFormat(read_moderation_request, read_moderation, content=ContentFormat(read_moderation_input))
