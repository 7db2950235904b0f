"""The price table that calls are priced by, as the reports ask for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from .._decimal import CONTEXT, PICO
from .._settings import load
from ..model import Counts, Request, Response
from ..pricing.price import Pricer
from ..report.what_if import PriceList

__all__ = ["open_catalog"]


class _CatalogPrices:
    def __init__(self, pricer: Pricer) -> None:
        self._pricer = pricer
        self.window = lru_cache(None)(self._window)

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        # Set missing output to 0: a call without output tokens cannot be priced.
        usage: Counts = {"output": 0, **{name: count for name, count in counts.items() if count}}
        response = Response(model=model, usage=usage)
        priced = self._pricer.price(provider or "", None, Request("chat", model), response, at)
        amount = None if priced is None or priced.reason is not None else priced.cost()
        return None if amount is None or amount.currency != "USD" else round(CONTEXT.multiply(amount.total, PICO))

    def _window(self, provider: str | None, model: str) -> int | None:
        return self._pricer.context_window(provider or "", model)


def open_catalog() -> PriceList:
    """Open the price table that calls are priced with, overrides included.

    Raises:
        ConfigError: The overrides cannot be read.
    """
    return _CatalogPrices(Pricer(load({}).prices))
