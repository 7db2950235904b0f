"""Fixtures of the tests that make calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from loopback import Loopback, json_answer

from serving import serving


@pytest.fixture(scope="session")
def _loopback() -> Iterator[Loopback]:
    with serving(Loopback()) as server:
        yield server


@pytest.fixture
def loopback(_loopback: Loopback) -> Loopback:
    """The loopback server, answering ``{}`` until told otherwise."""
    _loopback.will(json_answer({}))
    return _loopback
