"""Fixtures of the contract tests: a loopback server, and counters of internal faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from hostile import Server

from llmtrace import _errors
from serving import serving


@pytest.fixture(scope="module")
def _listening() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


@pytest.fixture
def server(_listening: Server) -> Iterator[Server]:
    """The loopback server in its initial state."""
    _listening.json({})
    yield _listening
    _listening.headers = {}


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts of internal faults, starting at zero."""
    counted: Counter[str] = Counter()
    monkeypatch.setattr(_errors, "internal_errors", counted)
    return counted


@pytest.fixture
def ours(faults: Counter[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> SimpleNamespace:
    """Counters and logs of internal faults, and a way to cause them."""
    return SimpleNamespace(faults=faults, patch=monkeypatch, log=caplog)
