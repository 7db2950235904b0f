"""Fixtures of the tests of google-genai."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from genai_calls import ONCE, USAGE, Side
from google_server import Gemini, answer

from serving import serving


@pytest.fixture(scope="module")
def _listening() -> Iterator[Gemini]:
    with serving(Gemini()) as server:
        yield server


@pytest.fixture
def gemini(_listening: Gemini) -> Gemini:
    """The loopback server in its initial state."""
    _listening.will(answer("Hello", usage=USAGE))
    return _listening


@pytest.fixture
async def side(colour: str, gemini: Gemini) -> AsyncIterator[Side]:
    """The client under test, closed afterwards."""
    made = Side(gemini.client(**ONCE), colour)
    yield made
    if colour == "async" and hasattr(made.client, "aclose"):
        await made.client.aclose()
