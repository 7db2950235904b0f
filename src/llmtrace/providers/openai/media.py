"""OpenAI images and audio. Media are counted, never read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..._read import get, get_number, get_text
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._usage import Reported, read_openai_usage
from .media_content import IMAGES_CONTENT, SPEECH_CONTENT, TRANSCRIPTIONS_CONTENT

__all__ = ["IMAGES", "SPEECH", "TRANSCRIPTIONS"]

_END = ("transcript.text.done", "image_generation.completed", "image_edit.completed", "speech.audio.done")
_KINDS = ("transcript.", "image_", "speech.")
_TOGETHER_AUDIO = "audio.tts.chunk"
"""Chunk of Together's streams of speech, which have no last event."""
_CHARACTER_BILLED_PREFIXES = ("tts-", "canopylabs/")
"""Prefixes of the names of models that are billed by input characters, at OpenAI and at Groq."""


def _request_reader(output: str) -> Callable[[Any], Request]:
    def read_request(body: Any) -> Request:
        return Request(
            operation="generate_content",
            model=get_text(body, "model"),
            stream=get(body, "stream") is True,
            output_type=output,
        )

    return read_request


def read_speech_request(body: Any) -> Request:
    request = _request_reader("speech")(body)
    text = get(body, "input")
    if isinstance(text, str) and (request.model or "").startswith(_CHARACTER_BILLED_PREFIXES):
        request.characters = len(text)
    return request


def read_response(response: Any) -> Response:
    reported = Reported()
    reported.add(get(response, "usage"))
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
    reported = Reported()
    reported.add(get(event, "usage"))
    response = reported.fill_openai(Response(model=get_text(event, "model")))
    response.usage = {**_as_images(response.usage), "images": 1}
    return response


class MediaAccumulator:
    """Accumulator of the events of a streamed image, speech or transcript."""

    __slots__ = ("_end", "_read", "_response", "_saw_content")

    def __init__(self, read: Callable[[Any], Response] = read_response) -> None:
        self._read = read
        self._response = Response(complete=False)
        self._saw_content = self._end = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or get_text(event, "object") or ""
        if kind == _TOGETHER_AUDIO:
            self._saw_content = self._end = True
        elif kind.endswith((".delta", ".partial_image")):
            self._saw_content = True
        elif kind in _END:
            self._saw_content = self._end = True
            self._response = self._read(event)
        elif not kind.startswith(_KINDS):
            error = read_error(event)
            self._response = replace(self._response, error=error, failed=error is not None)
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        return replace(self._response, complete=self._end)


IMAGES = WireFormat(
    request=_request_reader("image"),
    response=read_images,
    accumulator=partial(MediaAccumulator, read_image_event),
    content=IMAGES_CONTENT,
)
SPEECH = WireFormat(
    request=read_speech_request, response=read_response, accumulator=MediaAccumulator, content=SPEECH_CONTENT
)
TRANSCRIPTIONS = WireFormat(
    request=_request_reader("text"),
    response=read_response,
    accumulator=MediaAccumulator,
    content=TRANSCRIPTIONS_CONTENT,
)
