"""What calls that were not made would have cost."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from ..store.columns import PICO

__all__ = ["Quotes", "catalogue"]


class Quotes(Protocol):
    """A price list that can be asked."""

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        """Trillionths of a dollar for so much usage, by field of ``Usage``; ``None`` where nobody knows."""

    def window(self, provider: str | None, model: str) -> int | None:
        """How many tokens a request to the model may have."""


class _Catalogue:
    def __init__(self, pricer: Any) -> None:
        self._pricer = pricer
        self._catalog = pricer.load()

    def price(self, provider: str | None, model: str, counts: Mapping[str, int], at: float) -> int | None:
        from ..facts import Request, Response

        answer = Response(model=model, usage={name: count for name, count in counts.items() if count})
        priced = self._pricer.price(provider or "", None, Request("chat", model), answer, at)
        cost = priced.cost()
        return None if cost is None or priced.reason is not None else round(cost.total * PICO)

    def window(self, provider: str | None, model: str) -> int | None:
        found = self._catalog.find(provider or "", model)
        size = None if found is None else found.model.context_window
        return size if isinstance(size, int) else None


@cache
def catalogue() -> Quotes | None:
    """The price table that calls are priced by, where it is installed."""
    try:
        return _Catalogue(import_module("llmtrace.cost.price").Pricer())
    except ImportError:
        return None
