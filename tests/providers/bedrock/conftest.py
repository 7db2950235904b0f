"""Fixtures of the tests of Amazon Bedrock."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from bedrock_calls import Side
from loopback import Loopback


@pytest.fixture
async def side(colour: str, loopback: Loopback) -> AsyncIterator[Side]:
    """The client under test, closed afterwards."""
    async with Side(colour, loopback.url) as made:
        yield made
