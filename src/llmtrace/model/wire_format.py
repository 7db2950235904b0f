"""Interface of a wire format."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from . import Request, Response
from .content_format import ContentFormat

Texts = Iterable[tuple[str, bool]]
"""Pairs of a text and a flag, which is true for the name of a tool call."""
ReadTexts = Callable[[Any], Texts]
"""Reader of the texts of a complete response or a chunk, as an SDK model or as parsed JSON."""


class Accumulator(Protocol):
    """Accumulator that folds the chunks of one stream into a response.

    The optional attribute ``skips_text`` is true once further chunks that hold only text add nothing to the response.
    If its format has ``results``, the method ``take_results`` returns those that have come since it was last called.
    """

    def add(self, chunk: Any) -> bool | str:
        """Add a chunk. Return true if it held text, reasoning or a tool call.

        Return the text itself, as an alternative, if the chunk held nothing else: ``ReadTexts`` is then not called for
        it. The text of a chunk whose tokens are already reported may be returned as empty.
        """

    @property
    def ended(self) -> bool:
        """True if the end event of the format was read."""

    def result(self) -> Response:
        """Return the response accumulated so far."""


@dataclass(frozen=True, slots=True)
class HeaderReader:
    """Reader of response headers that report properties of the response."""

    names: tuple[str, ...]
    """Names of the headers, in lower case."""
    complete: Callable[[Response, Mapping[str, str]], None]
    """Function that adds to a response what its headers report."""


@dataclass(frozen=True, slots=True)
class WireFormat:
    """Readers of one wire format: request, response and, for streams, an accumulator."""

    request: Callable[[Any], Request]
    response: Callable[[Any], Response]
    accumulator: Callable[[], Accumulator] | None = None
    content: ContentFormat | None = None
    """Readers of the content, used only if content is recorded."""
    texts: ReadTexts | None = None
    """Reader of the output texts, or ``None`` if tokens cannot be estimated from texts."""
    headers: HeaderReader | None = None
    """Reader of headers, if they report what a body may leave out."""
    results: WireFormat | None = None
    """Format of the results inside a response. Their requests have a ``response_id``."""
    api: str | None = None
    """SDK method, such as ``openai.chat.completions.create``, set by the registry of SDKs."""
