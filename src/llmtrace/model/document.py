"""A document that a search found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Document"]


@dataclass(frozen=True, slots=True)
class Document:
    """One document that a search or a reranker returned. Vectors have no place in it."""

    id: str
    score: float | None = None
    content: str | None = None
    """Leaves the program only when content capture is on."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """As ``content``."""
