"""Interface of a wire format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ..providers._texts import Words
from . import Request, Response
from .content_format import ContentFormat

__all__ = ["Accumulator", "WireFormat"]


class Accumulator(Protocol):
    """Accumulator that folds the chunks of one stream into a response.

    The optional attribute ``skips_text`` is true once further chunks that hold only text add nothing to the response.
    """

    def add(self, chunk: Any) -> bool:
        """Add a chunk. Return True if it held text, reasoning or a tool call."""

    @property
    def ended(self) -> bool:
        """True if the end event of the format was read."""

    def result(self) -> Response:
        """Return the response accumulated so far."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    """Readers of one wire format: request, response and, for streams, an accumulator."""

    request: Callable[[Any], Request]
    response: Callable[[Any], Response]
    accumulator: Callable[[], Accumulator] | None = None
    content: ContentFormat | None = None
    """Readers of the content, used only if content is recorded."""
    words: Words | None = None
    """Readers of the output texts, or ``None`` if tokens cannot be estimated from texts."""
    api: str | None = None
    """SDK method, such as ``openai.chat.completions.create``, set by the registry of SDKs."""
