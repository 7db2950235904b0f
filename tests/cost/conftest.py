"""The vendors, and nothing left over between tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from vendor_proxy import Vendor

import llmtrace
from llmtrace.cost import budget as budgets
from llmtrace.cost import catalog


@pytest.fixture(scope="session")
def vendors() -> Iterator[Vendor]:
    with Vendor() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def vendor(vendors: Vendor) -> Iterator[Vendor]:
    catalog.current()
    vendors.asked.clear()
    budgets.forget()
    yield vendors
    llmtrace.uninstrument()
    budgets.forget()
    while vendors.clients:
        vendors.clients.pop().close()
