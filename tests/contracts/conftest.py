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
    """The loopback server, as new."""
    _listening.json({})
    yield _listening
    _listening.headers = {}


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Our own faults, counted from zero."""
    counted: Counter[str] = Counter()
    monkeypatch.setattr(_errors, "faults", counted)
    return counted


@pytest.fixture
def ours(faults: Counter[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> SimpleNamespace:
    """What a test of our own faults needs: a way to cause them, and both places they are told."""
    return SimpleNamespace(faults=faults, patch=monkeypatch, log=caplog)
