"""Fixtures of the tests of mistralai."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from loopback import Loopback
from mistral_calls import Side


@pytest.fixture
async def side(colour: str, loopback: Loopback) -> AsyncIterator[Side]:
    """The client under test, closed afterwards."""
    made = Side(colour, loopback.url)
    yield made
    await made.close()
