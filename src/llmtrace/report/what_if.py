"""Prices for calls that were not made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

__all__ = ["PriceList"]


class PriceList(Protocol):
    """Source of prices and context windows."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        """Return the cost of a usage in trillionths of a dollar, or ``None`` if it cannot be priced.

        Args:
            provider: OpenTelemetry's name of the provider.
            model: Name of the model.
            counts: Tokens by field of ``Usage``.
            at: Time of the call in seconds since the epoch.
        """

    def window(self, provider: str | None, model: str) -> int | None:
        """Return the size of the model's context window in tokens, or ``None`` if it is not in the catalog."""
