"""OpenAI images and audio. Media are never read, only counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .._read import number, peek, tell, text
from ..facts import Counts, Request, Response
from ._errors import read_error
from ._format import WireFormat
from .openai_media_content import IMAGES_CONTENT, SPEECH_CONTENT, TRANSCRIPTIONS_CONTENT

__all__ = ["IMAGES", "SPEECH", "TRANSCRIPTIONS"]

_END = ("transcript.text.done", "image_generation.completed", "image_edit.completed", "speech.audio.done")
_KINDS = ("transcript.", "image_", "speech.")
_BY_CHARACTER = "tts-"
"""How the names of the models begin that are billed by what they are given to say."""


def _reader(output: str) -> Callable[[Any], Request]:
    def read_request(body: Any) -> Request:
        return Request(
            operation="generate_content",
            model=text(body, "model"),
            stream=peek(body, "stream") is True,
            output_type=output,
        )

    return read_request


def read_speech_request(body: Any) -> Request:
    request = _reader("speech")(body)
    said = peek(body, "input")
    if isinstance(said, str) and (request.model or "").startswith(_BY_CHARACTER):
        request.characters = len(said)
    return request


def read_usage(usage: Any) -> Counts | None:
    given = peek(usage, "input_tokens_details") or peek(usage, "input_token_details")
    found: Counts = {}
    tell(found, "input", usage, "input_tokens")
    tell(found, "output", usage, "output_tokens")
    tell(found, "text_input", given, "text_tokens")
    tell(found, "audio_input", given, "audio_tokens")
    tell(found, "image_input", given, "image_tokens")
    # A transcription that is billed by its length says so in place of tokens.
    seconds = number(usage, "seconds")
    if seconds is not None and seconds >= 0:
        found["audio_seconds"] = seconds
    return found or None


def read_response(answer: Any) -> Response:
    return Response(usage=read_usage(peek(answer, "usage")))


def read_image_usage(usage: Any) -> Counts:
    """As ``read_usage``. Every token of the answer is an image's, where nothing else is said."""
    found = read_usage(usage) or {}
    if "output" in found:
        found["image_output"] = found["output"]
    made = peek(usage, "output_tokens_details")
    tell(found, "image_output", made, "image_tokens")
    tell(found, "text_output", made, "text_tokens")
    tell(found, "cache_read", usage, "cached_tokens")
    cached = peek(usage, "cached_tokens_details")
    tell(found, "image_cache_read", cached, "cached_image_tokens")
    tell(found, "text_cache_read", cached, "cached_text_tokens")
    return found


def read_images(answer: Any) -> Response:
    """The images are counted too, for models that are billed by the piece."""
    found = read_image_usage(peek(answer, "usage"))
    images = peek(answer, "data")
    if isinstance(images, list):
        found["images"] = len(images)
    # A drawing in SVG is written by a model of words before the one of images renders it.
    wrote = peek(answer, "svg_usage")
    told = {} if wrote is None else read_usage(wrote) or {}
    return Response(usage=found or None, also=((text(wrote, "model") or "svg", told),) if any(told.values()) else ())


def read_image_event(event: Any) -> Response:
    return Response(usage={**read_image_usage(peek(event, "usage")), "images": 1})


class Events:
    """Folds the events of a streamed image, speech or transcript."""

    __slots__ = ("_answer", "_end", "_read", "_spoke")

    def __init__(self, read: Callable[[Any], Response] = read_response) -> None:
        self._read = read
        self._answer = Response(complete=False)
        self._spoke = self._end = False

    def add(self, event: Any) -> bool:
        kind = text(event, "type") or ""
        if kind.endswith((".delta", ".partial_image")):
            self._spoke = True
        elif kind in _END:
            self._spoke = self._end = True
            self._answer = self._read(event)
        elif not kind.startswith(_KINDS):
            error = read_error(event)
            self._answer = replace(self._answer, error=error, failed=error is not None)
        return self._spoke

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        return replace(self._answer, complete=self._end)


IMAGES = WireFormat(
    request=_reader("image"),
    response=read_images,
    events=partial(Events, read_image_event),
    content=IMAGES_CONTENT,
)
SPEECH = WireFormat(request=read_speech_request, response=read_response, events=Events, content=SPEECH_CONTENT)
TRANSCRIPTIONS = WireFormat(
    request=_reader("text"), response=read_response, events=Events, content=TRANSCRIPTIONS_CONTENT
)
