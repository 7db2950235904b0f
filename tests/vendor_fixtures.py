"""Fixtures of the vendors, which reset all state between tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import llmtrace
from llmtrace.budgets import budget as budgets
from llmtrace.pricing import catalog
from serving import serving
from vendor_proxy import Vendor


@pytest.fixture(scope="session")
def vendors() -> Iterator[Vendor]:
    with serving(Vendor()) as server:
        yield server


@pytest.fixture
def vendor(vendors: Vendor) -> Iterator[Vendor]:
    catalog.current()
    vendors.requests.clear()
    vendors.headers = {}
    budgets.forget()
    yield vendors
    llmtrace.uninstrument()
    budgets.forget()
    while vendors.clients:
        vendors.clients.pop().close()
