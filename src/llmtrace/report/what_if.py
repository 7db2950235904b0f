"""What calls that were not made would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["PriceList"]


class PriceList(Protocol):
    """A price list that can be asked."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        """Trillionths of a dollar for so much usage, by field of ``Usage``; ``None`` where nobody knows."""

    def window(self, provider: str | None, model: str) -> int | None:
        """How many tokens a request to the model may have."""
