"""Fixtures of the contract tests: a loopback server, and counters of internal faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hostile import Server
from hostile_calls import BedrockRuntime, MistralChat

from llmtrace import _errors
from serving import serving
from stainless_clients import make_client


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


class _Clients(dict[tuple[str, str], Any]):
    """Clients by vendor and colour. Each is made when it is used."""

    def __init__(self, url: str) -> None:
        self._url = url

    def __missing__(self, key: tuple[str, str]) -> Any:
        vendor, colour = key
        others = {"mistral": MistralChat, "bedrock": BedrockRuntime}
        if vendor in others:
            self[key] = others[vendor](self._url, colour)
        else:
            self[key] = make_client(vendor, colour, self._url, timeout=20)
        return self[key]


@pytest.fixture(scope="module")
def clients(_listening: Server) -> Iterator[Any]:
    """Clients of each vendor, sync and async, and the event loop of the async ones."""
    made = _Clients(f"http://127.0.0.1:{_listening.server_port}")
    with asyncio.Runner() as runner:
        yield SimpleNamespace(made=made, run=runner.run)
        for (_, colour), client in made.items():
            if colour == "sync":
                client.close()
            else:
                runner.run(client.close())
