"""OpenAI images and audio: generation, speech and transcription. Media are never read, only counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .._read import peek, text, whole
from ..facts import Request, Response, Usage
from ._format import WireFormat

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


def read_usage(usage: Any) -> Usage | None:
    given = peek(usage, "input_tokens_details") or peek(usage, "input_token_details")
    found = Usage(
        input=whole(usage, "input_tokens"),
        output=whole(usage, "output_tokens"),
        audio_input=whole(given, "audio_tokens"),
        image_input=whole(given, "image_tokens"),
    )
    return None if found == Usage() else found


def read_response(answer: Any) -> Response:
    return Response(usage=read_usage(peek(answer, "usage")))


class Events:
    """Folds the events of a streamed image, speech or transcript."""

    __slots__ = ("_answer", "_end", "_spoke")

    def __init__(self) -> None:
        self._answer = Response(complete=False)
        self._spoke = self._end = False

    def add(self, event: Any) -> bool:
        kind = text(event, "type") or ""
        if kind.endswith((".delta", ".partial_image")):
            self._spoke = True
        elif kind in _END:
            self._spoke = self._end = True
            self._answer = read_response(event)
        return self._spoke

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        return replace(self._answer, complete=self._end)


IMAGES = WireFormat(request=_reader("image"), response=read_response, events=Events)
SPEECH = WireFormat(request=_reader("speech"), response=read_response, events=Events)
TRANSCRIPTIONS = WireFormat(request=_reader("text"), response=read_response, events=Events)
