"""OpenAI images and audio. Media are never read, only counted."""

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
_BY_CHARACTER = "tts-"
"""How the names of the models begin that are billed by what they are given to say."""


def _reader(output: str) -> Callable[[Any], Request]:
    def read_request(body: Any) -> Request:
        return Request(
            operation="generate_content",
            model=get_text(body, "model"),
            stream=get(body, "stream") is True,
            output_type=output,
        )

    return read_request


def read_speech_request(body: Any) -> Request:
    request = _reader("speech")(body)
    said = get(body, "input")
    if isinstance(said, str) and (request.model or "").startswith(_BY_CHARACTER):
        request.characters = len(said)
    return request


def read_response(answer: Any) -> Response:
    reported = Reported()
    reported.add(get(answer, "usage"))
    if not reported.counts:
        # A verbose transcript says how long the audio is; servers that report nothing else bill by it.
        seconds = get_number(answer, "duration")
        if seconds is not None and seconds > 0:
            reported.counts["audio_seconds"] = seconds
    return reported.fill_openai(Response(model=get_text(answer, "model")))


def _as_images(counts: Counts | None) -> Counts:
    """Take every token of the answer for an image's, where nothing else is said."""
    found = counts or {}
    if "output" in found:
        found.setdefault("image_output", found["output"] - found.get("text_output", 0))
    return found


def read_image_usage(usage: Any) -> Counts:
    return _as_images(read_openai_usage(usage))


def read_images(answer: Any) -> Response:
    """The images are counted too, for models that are billed by the piece."""
    response = read_image_event(answer)
    found = response.usage or {}
    images = get(answer, "data")
    if isinstance(images, list):
        found["images"] = len(images)
    else:
        found.pop("images", None)
    response.usage = found or None
    # A drawing in SVG is written by a model of words before the one of images renders it.
    wrote = get(answer, "svg_usage")
    told = read_openai_usage(wrote) or {}
    if any(told.values()):
        response.additional_usage = ((get_text(wrote, "model") or "svg", told),)
    return response


def read_image_event(event: Any) -> Response:
    reported = Reported()
    reported.add(get(event, "usage"))
    response = reported.fill_openai(Response(model=get_text(event, "model")))
    response.usage = {**_as_images(response.usage), "images": 1}
    return response


class MediaAccumulator:
    """Folds the events of a streamed image, speech or transcript."""

    __slots__ = ("_answer", "_end", "_read", "_spoke")

    def __init__(self, read: Callable[[Any], Response] = read_response) -> None:
        self._read = read
        self._answer = Response(complete=False)
        self._spoke = self._end = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or ""
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
    accumulator=partial(MediaAccumulator, read_image_event),
    content=IMAGES_CONTENT,
)
SPEECH = WireFormat(
    request=read_speech_request, response=read_response, accumulator=MediaAccumulator, content=SPEECH_CONTENT
)
TRANSCRIPTIONS = WireFormat(
    request=_reader("text"), response=read_response, accumulator=MediaAccumulator, content=TRANSCRIPTIONS_CONTENT
)
