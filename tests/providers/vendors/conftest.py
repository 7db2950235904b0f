"""Fixtures of the tests of libraries with wire formats of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from loopback import Loopback
from vendor_calls import METHODS, Method, close, make_client


@pytest.fixture
def method(name: str) -> Method:
    """The method under test."""
    return METHODS[name]


@pytest.fixture
async def client(method: Method, colour: str, loopback: Loopback) -> AsyncIterator[Any]:
    """The client under test, closed afterwards."""
    made = make_client(method.client or method.vendor, colour, loopback.url)
    yield made
    await close(made)
