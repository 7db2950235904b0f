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
        # What is not named is none, where a call that does not tell its output has no price.
        usage: Counts = {"output": 0, **{name: count for name, count in counts.items() if count}}
        answer = Response(model=model, usage=usage)
        priced = self._pricer.price(provider or "", None, Request("chat", model), answer, at)
        cost = None if priced is None or priced.reason is not None else priced.cost()
        return None if cost is None or cost.currency != "USD" else round(CONTEXT.multiply(cost.total, PICO))

    def _window(self, provider: str | None, model: str) -> int | None:
        return self._pricer.context_window(provider or "", model)


def open_catalog() -> PriceList:
    """The price table that calls are priced by, with the overrides in force.

    Raises:
        ConfigError: The overrides cannot be read.
    """
    return _CatalogPrices(Pricer(load({}).prices))
