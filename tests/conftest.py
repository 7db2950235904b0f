"""Shared fixtures: a clean environment, an in-memory exporter and the replay server."""

from __future__ import annotations

import gc
import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import pytest
import wrapt
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import exhaustive
from conformance.checks import Finding, check_span
from exhaustive import pytest_addoption, pytest_collection_modifyitems  # noqa: F401 (hooks)
from recorded import CASSETTES, NO_SHARED, REPLAY, Cassette, load_cassettes
from skip_summary import pytest_terminal_summary  # noqa: F401 (a hook)
from warm_python import WarmPython

# Some containers set it. Hundreds of tests start a program that imports an SDK, and without bytecode that takes 1.5
# seconds of CPU time instead of 0.7.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A vendor's client reads all trusted certificates when it is made, which takes longer than most tests, and every server
# here speaks plain HTTP: one certificate, whose key is lost, is enough.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).with_name("certificate.pem"))
# The same examples in every run, however slow the machine is.
hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("steady")


def _use_httpx(module: ModuleType) -> None:
    module.has_aiohttp = False


# aiobotocore brings aiohttp, which google-genai would use in place of httpx.
wrapt.register_post_import_hook(_use_httpx, "google.genai._api_client")


def pytest_configure(config: pytest.Config) -> None:
    exhaustive.pytest_configure(config)
    config.addinivalue_line(
        "markers", "cassettes(choose=...): run once per recording; choose() takes all and returns those wanted"
    )
    config.addinivalue_line("markers", "faulty: faults of our own are caused, and counted")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize a test marked ``cassettes(choose=...)`` over the recordings. Skip it if there are none."""
    marker = metafunc.definition.get_closest_marker("cassettes")
    if marker is None:
        return
    choose: Callable[[list[Cassette]], list[Cassette]] = marker.kwargs["choose"]
    recordings = choose(load_cassettes())
    params = [pytest.param(cassette, id=cassette["id"]) for cassette in recordings]
    nothing = pytest.param(None, id="none", marks=pytest.mark.skip(reason=NO_SHARED))
    metafunc.parametrize("cassette", params or [nothing])


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the settings of the developer's machine from the environment."""
    for name in list(os.environ):
        if name.startswith(("LLMTRACE_", "OTEL_")):
            monkeypatch.delenv(name)
    # An estimate is made on another thread, and tests read their spans at once.
    monkeypatch.setenv("LLMTRACE_ESTIMATE_USAGE", "off")


@pytest.fixture(autouse=True)
def no_ids_of_background_calls() -> None:
    """Forget the ids of background calls between tests."""
    from llmtrace.capture import background

    background.forget()


@pytest.fixture(autouse=True)
def no_retired_instrumentation() -> Iterator[None]:
    """Forget instrumentation that was undone with unsent spans, which every later ``flush()`` would wait for."""
    yield
    if (api := sys.modules.get("llmtrace._api")) is not None:
        api._retired.clear()


@pytest.fixture(scope="session", autouse=True)
def installed_packages() -> Iterator[None]:
    """Read the metadata of each installed package once, which takes longer than most tests, and not per test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metadata, "entry_points", cache(metadata.entry_points))
        patch.setattr(metadata, "version", cache(metadata.version))
        yield


@pytest.fixture(scope="session")
def warm_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """Yield the process that runs the programs of pages and the examples."""
    if not hasattr(os, "fork"):
        pytest.skip("needs fork")
    python = WarmPython(tmp_path_factory.mktemp("warm_python"))
    yield python
    python.close()


@pytest.fixture(scope="session", autouse=True)
def prices() -> None:
    """Load the price catalog before the first call, which then ends on the calling thread."""
    from llmtrace.pricing import catalog

    catalog.current()


class _Complaints(logging.Handler):
    """Handler that collects OpenTelemetry's log records about invalid contexts and attributes."""

    def __init__(self) -> None:
        super().__init__(logging.NOTSET)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(f"{record.name}: {record.getMessage()}")


@pytest.fixture(autouse=True)
def no_complaints() -> Iterator[None]:
    """Fail if OpenTelemetry logs a wrongly detached context or an invalid attribute."""
    complaints = _Complaints()
    loggers = [logging.getLogger(name) for name in ("opentelemetry.context", "opentelemetry.attributes")]
    for logger in loggers:
        logger.addHandler(complaints)
    yield
    for logger in loggers:
        logger.removeHandler(complaints)
    assert complaints.messages == []


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail if an internal error was counted, unless the test is marked ``faulty``."""
    from llmtrace import _errors, _process

    _process.forget_warnings()  # what is logged once is logged once per test
    faults = _errors.internal_errors
    before = faults.copy()
    yield
    made = faults - before
    # A place is logged once per process: each test begins anew.
    faults.clear()
    if request.node.get_closest_marker("faulty") is None:
        assert not made


def _exclude_from_collection() -> None:
    """Exclude all objects from garbage collection. Collect first: frozen garbage is never freed."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def few_objects_to_collect() -> None:
    """Exclude the objects of earlier modules from garbage collection, which some tests run many times."""
    _exclude_from_collection()


@pytest.fixture(autouse=True)
def few_imported_objects_to_collect() -> Iterator[None]:
    """Exclude the objects of an SDK that the first test of a module has imported."""
    before = len(sys.modules)
    yield
    if len(sys.modules) > before + 100:
        _exclude_from_collection()


class _Finished(InMemorySpanExporter):
    """Exporter whose finished spans include those that the worker thread is about to end."""

    def get_finished_spans(self) -> tuple[ReadableSpan, ...]:
        from llmtrace.capture import worker

        worker.drain(30)
        return super().get_finished_spans()


def find_violations(exporter: InMemorySpanExporter) -> list[Finding]:
    """Return where spans of llmtrace deviate from the conventions without intention."""
    finished = exporter.get_finished_spans()
    ours = [span for span in finished if span.instrumentation_scope.name.startswith("llmtrace.")]
    return [finding for span in ours for finding in check_span(span)]


@pytest.fixture
def spans(request: pytest.FixtureRequest) -> Iterator[InMemorySpanExporter]:
    """Yield the exporter of an instrumentation in strict mode, whose spans must follow the conventions."""
    import llmtrace
    from llmtrace.export import exporter_metrics

    exporter = _Finished()
    provider = TracerProvider(resource=Resource.get_empty())  # detectors take longer than a call
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    llmtrace.instrument(tracer_provider=provider, strict=True)
    try:
        yield exporter
    finally:
        llmtrace.uninstrument()
        provider.shutdown()
        exporter_metrics._sources.clear()  # a collection would do it, but comes after thousands of tests
    if request.node.get_closest_marker("faulty") is None:
        assert find_violations(exporter) == []


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
    """Yield the replay server over all recordings, on a free loopback port."""
    if not (REPLAY.is_file() and CASSETTES.is_dir()):
        pytest.skip(NO_SHARED)
    with _load_replay().ReplayServer(CASSETTES) as server:
        yield server
