"""What every test shares: a clean environment, an in-memory exporter and the replay server."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

#: The recordings and their server live beside the repository, not in it.
SHARED = Path(os.environ.get("LLMTRACE_SHARED") or Path(__file__).resolve().parents[2] / "shared")
CASSETTES = SHARED / "cassettes"
REPLAY = SHARED / "replay" / "replay.py"
NO_SHARED = "the recorded exchanges are not here: set LLMTRACE_SHARED or put shared/ beside the repository"

Cassette = dict[str, Any]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "cassettes(choose=...): run once per recording; choose() takes all and returns those wanted"
    )


@cache
def _load_cassettes() -> list[Cassette]:
    if not (REPLAY.is_file() and CASSETTES.is_dir()):
        return []
    files = sorted(path for path in CASSETTES.glob("*.json") if path.name != "index.json")
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test marked ``cassettes(choose=...)`` one run per recording, or one skip where there are none."""
    marker = metafunc.definition.get_closest_marker("cassettes")
    if marker is None:
        return
    choose: Callable[[list[Cassette]], list[Cassette]] = marker.kwargs["choose"]
    recordings = choose(_load_cassettes())
    params = [pytest.param(cassette, id=cassette["id"]) for cassette in recordings]
    nothing = pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_SHARED))
    metafunc.parametrize("cassette", params or [nothing])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the developer's machine reaches a test."""
    for name in list(os.environ):
        if name.startswith(("LLMTRACE_", "OTEL_")):
            monkeypatch.delenv(name)
    # An estimate is made on another thread, and tests read their spans at once.
    monkeypatch.setenv("LLMTRACE_ESTIMATE_USAGE", "off")


@pytest.fixture(scope="session", autouse=True)
def prices() -> None:
    """The price catalogue is there before the first call, which then ends where it is made."""
    from llmtrace.cost import catalog

    catalog.current()


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """Finished spans of calls made while llmtrace is instrumented, with our own faults fatal."""
    import llmtrace

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    try:
        yield exporter
    finally:
        llmtrace.uninstrument()
        provider.shutdown()


def _load_replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("llmtrace_shared_replay", REPLAY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def replay() -> Iterator[Any]:
    """The replay server over every recording, on a free loopback port."""
    if not (REPLAY.is_file() and CASSETTES.is_dir()):
        pytest.skip(NO_SHARED)
    with _load_replay().ReplayServer(CASSETTES) as server:
        yield server
