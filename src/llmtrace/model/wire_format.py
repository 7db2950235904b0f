"""The shape of a wire format."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from . import Request, Response
from .content_format import ContentFormat

__all__ = ["Accumulator", "TextFormat", "Texts", "WireFormat"]

Texts = Iterable[tuple[str, bool]]
"""Texts; true for the name of a tool call."""


class Accumulator(Protocol):
    """Folds the chunks of one stream into the answer they add up to.

    ``spoken``, where it has that, is true once another chunk of nothing but words would tell it nothing new.
    """

    def add(self, chunk: Any) -> bool:
        """Take one chunk in; true when it carried text, reasoning or a tool call."""

    @property
    def ended(self) -> bool:
        """Whether the format's own end event was seen."""

    def result(self) -> Response:
        """The answer so far."""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """How to read the texts of one wire format, from which tokens are estimated."""

    read: Callable[[Any], Texts]
    """Takes a whole answer or a chunk, as a model of the SDK or as parsed JSON."""
    quick: Callable[[Any], Any]
    """Takes a chunk: its one text, in the form that most chunks have. May raise for any other, or return ``None``."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    request: Callable[[Any], Request]
    response: Callable[[Any], Response]
    accumulator: Callable[[], Accumulator] | None = None
    content: ContentFormat | None = None
    """How to read what was said. Asked only where content is wanted."""
    words: TextFormat | None = None
    """How to read the texts of an answer; ``None`` where its tokens cannot be estimated from texts."""
    api: str | None = None
    """The method of the SDK, as ``openai.chat.completions.create``; said by the table of SDKs."""
