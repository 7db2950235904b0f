"""Document returned by a search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Document:
    """Document that a search or a reranker returned, without its vector.

    Args:
        id: The id of the document.
        score: The relevance score, as the search reports it.
        content: The text of the document.
        metadata: Further properties of the document.
    """

    id: str
    score: float | None = None
    content: str | None = None
    """Text of the document, exported only if content capture is on."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Further properties, exported only if content capture is on."""

    def without_content(self) -> Document:
        """Return the document with its id and score only."""
        return Document(self.id, self.score) if self.metadata or self.content is not None else self
