"""OpenAI images and audio. Media are never read, only counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from .._read import number, peek, tell, text
from ..facts import Counts, Request, Response
from ._format import WireFormat
from .openai_media_content import IMAGES_CONTENT, SPEECH_CONTENT, TRANSCRIPTIONS_CONTENT

__all__ = ["IMAGES", "SPEECH", "TRANSCRIPTIONS"]

_END = ("transcript.text.done", "image_generation.completed", "image_edit.completed", "speech.audio.done")


def _reader(output: str) -> Callable[[Any], Request]:
    def read_request(body: Any) -> Request:
        return Request(
            operation="generate_content",
            model=text(body, "model"),
            stream=peek(body, "stream") is True,
            output_type=output,
        )

    return read_request


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


def read_images(answer: Any) -> Response:
    """Tokens of the answer are an image's unless told apart; images are counted, for models billed by the piece."""
    usage = peek(answer, "usage")
    found = read_usage(usage) or {}
    made = peek(usage, "output_tokens_details")
    if made is not None:
        tell(found, "text_output", made, "text_tokens")
        tell(found, "image_output", made, "image_tokens")
    elif "output" in found:
        found["image_output"] = found["output"]
    images = peek(answer, "data")
    if isinstance(images, list):
        found["images"] = len(images)
    return Response(usage=found or None)


def read_image_event(event: Any) -> Response:
    """The event that brings the finished image."""
    answer = read_images(event)
    return replace(answer, usage={**(answer.usage or {}), "images": 1})


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
        return self._spoke

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        return replace(self._answer, complete=self._end)


IMAGES = WireFormat(
    request=_reader("image"), response=read_images, events=partial(Events, read_image_event), content=IMAGES_CONTENT
)
SPEECH = WireFormat(request=_reader("speech"), response=read_response, events=Events, content=SPEECH_CONTENT)
TRANSCRIPTIONS = WireFormat(
    request=_reader("text"), response=read_response, events=Events, content=TRANSCRIPTIONS_CONTENT
)
