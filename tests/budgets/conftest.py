"""Fixtures of the budget tests, and the vendors on loopback, shared with the tests of prices."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from budget_calls import PRICES

from llmtrace.budgets import budget as budgets
from llmtrace.pricing.price import Pricer
from vendor_fixtures import vendor, vendors  # noqa: F401


@pytest.fixture(autouse=True)
def no_budgets() -> Iterator[None]:
    budgets.forget()
    yield
    budgets.forget()


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    loaded = Pricer(PRICES)
    loaded.load()
    return loaded
