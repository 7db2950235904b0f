"""What the tests of starting, forking and ending share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export.backend import Backend

from . import programs


@pytest.fixture
def vendor() -> Iterator[str]:
    """The base URL of a vendor that answers chat completions."""
    with programs.vendor() as url:
        yield url


@pytest.fixture
def backend() -> Iterator[Backend]:
    """An OTLP backend that is up."""
    with Backend() as server:
        yield server.up()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"
