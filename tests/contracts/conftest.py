"""Fixtures of the contract tests: a loopback server, and counters of internal faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hostile import COLOURS, Server
from hostile_calls import BedrockRuntime, MistralChat

from llmtrace import _errors
from serving import serving
from stainless_clients import MODULES, make_client


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


@pytest.fixture(scope="module")
def clients(_listening: Server) -> Iterator[Any]:
    """Clients of each vendor, sync and async, and the event loop of the async ones."""
    base = f"http://127.0.0.1:{_listening.server_port}"
    made: dict[tuple[str, str], Any] = {
        (vendor, colour): make_client(vendor, colour, base, timeout=20) for vendor in MODULES for colour in COLOURS
    }
    made |= {("mistral", colour): MistralChat(base, colour) for colour in COLOURS}
    made |= {("bedrock", colour): BedrockRuntime(base, colour) for colour in COLOURS}
    with asyncio.Runner() as runner:
        yield SimpleNamespace(made=made, run=runner.run)
        for (_, colour), client in made.items():
            if colour == "sync":
                client.close()
            else:
                runner.run(client.close())
