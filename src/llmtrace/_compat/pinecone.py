"""Private parts of Pinecone's clients."""

from __future__ import annotations

from typing import Any

__all__ = ["host_of"]


def host_of(index: Any) -> str:
    """Return the address of an index, also of the client of its documents; empty if it is not known."""
    return str(getattr(index, "_host", None) or getattr(index, "host", ""))
