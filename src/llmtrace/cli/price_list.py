"""Prices for calls that were not made, from the table that calls are priced with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from .._decimal import CONTEXT, PICO
from .._settings import load
from ..model import Counts, Request, Response
from ..pricing.price import Pricer


class CatalogPrices:
    """Prices, overrides included, and context windows.

    Raises:
        ConfigError: The overrides cannot be read.
    """

    def __init__(self) -> None:
        self._pricer = Pricer(load({}).prices)
        self.window: Callable[[str | None, str], int | None] = lru_cache(None)(self._window)

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        """Return the cost of a usage, as ``report.advise.PriceList`` describes it."""
        # Set missing output to 0: a call without output tokens cannot be priced.
        usage: Counts = {"output": 0, **{name: count for name, count in counts.items() if count}}
        response = Response(model=model, usage=usage)
        priced = self._pricer.price(provider or "", None, Request("chat", model), response, at)
        amount = None if priced is None or priced.reason is not None else priced.cost()
        return None if amount is None or amount.currency != "USD" else round(CONTEXT.multiply(amount.total, PICO))

    def _window(self, provider: str | None, model: str) -> int | None:
        return self._pricer.context_window(provider or "", model)
