"""Fixtures of the contract tests: a loopback server, and counters of internal faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import anthropic
import openai
import pytest
from hostile import Server
from hostile_calls import BedrockRuntime, MistralChat

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


@pytest.fixture(scope="module")
def clients(_listening: Server) -> Iterator[Any]:
    """Clients of each vendor, sync and async, and the event loop of the async ones."""
    base = f"http://127.0.0.1:{_listening.server_port}"
    options: dict[str, Any] = {"api_key": "k", "max_retries": 0, "timeout": 20}
    made = {
        ("openai", "sync"): openai.OpenAI(base_url=base, **options),
        ("openai", "async"): openai.AsyncOpenAI(base_url=base, **options),
        ("anthropic", "sync"): anthropic.Anthropic(base_url=base, **options),
        ("anthropic", "async"): anthropic.AsyncAnthropic(base_url=base, **options),
        ("mistral", "sync"): MistralChat(base, "sync"),
        ("mistral", "async"): MistralChat(base, "async"),
        ("bedrock", "sync"): BedrockRuntime(base, "sync"),
        ("bedrock", "async"): BedrockRuntime(base, "async"),
    }
    with asyncio.Runner() as runner:
        yield SimpleNamespace(made=made, run=runner.run)
        for (_, colour), client in made.items():
            if colour == "sync":
                client.close()
            else:
                runner.run(client.close())
