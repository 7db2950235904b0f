"""Data of ``genai-prices``, read without its HTTP client and updater."""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterable
from typing import Any

from . import warn_missing
from .isolated_modules import IsolatedModules, StubModule

# Load a private copy: the ``__init__`` of the package imports an updater, which imports an HTTP library.
# Substitute ``pydantic``: it only validates prices from other sources.
price_data = IsolatedModules("genai_prices", substitutes={"pydantic": StubModule(), "typing_extensions": typing})


def snapshot() -> Any:
    """Return the snapshot that the application fetched or set, else the one in the package."""
    module = sys.modules.get("genai_prices.data_snapshot")
    custom = None
    if module is not None and hasattr(module, "get_snapshot"):  # not while it is being imported
        try:
            custom = module._custom_snapshot
        except AttributeError:
            consequence = "get_snapshot() is used instead, which takes longer once"
            warn_missing("genai-prices", "data_snapshot._custom_snapshot", consequence)
            custom = module.get_snapshot()
    return price_data.load("genai_prices.data_snapshot").get_snapshot() if custom is None else custom


def units() -> Iterable[Any]:
    """Return the definitions of everything that has a price; empty if the package has other internals."""
    module = price_data.load("genai_prices.units")
    if not hasattr(module, "_get_registry"):
        warn_missing("genai-prices", "units._get_registry", "only models with prices of your own have a cost")
        return ()
    registry: Iterable[Any] = module._get_registry().units.values()
    return registry
