"""Operations that callbacks and methods report, without a framework."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
from agent_server import only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.integrations import _runs
from llmtrace.integrations._runs import OpenRuns, parse_json
from llmtrace.integrations._wrapping import TracedMethod
from llmtrace.providers._patches import Patches


def outcomes(spans: InMemorySpanExporter) -> dict[str, Any]:
    return {span.name: (span.attributes or {})["llmtrace.outcome"] for span in spans.get_finished_spans()}


def test_end_of_a_run_ends_the_runs_inside(spans: InMemorySpanExporter) -> None:
    """A run whose own end is never reported ends with the run above, as cancelled; runs between may have no span."""
    runs = OpenRuns("some_framework")
    runs.begin(1, None, "workflow", "outer")
    runs.skip(2, 1)
    runs.begin(3, 2, "tool", "inner")
    runs.end(1)
    runs.end(3)
    assert tree(spans.get_finished_spans()) == ["invoke_workflow outer", "  execute_tool inner"]
    assert outcomes(spans) == {"execute_tool inner": "cancelled", "invoke_workflow outer": "ok"}
    assert len(runs) == 0
    scopes = {span.instrumentation_scope.name for span in spans.get_finished_spans() if span.instrumentation_scope}
    assert scopes == {"llmtrace.some_framework"}


def test_runs_in_progress_are_limited(spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest run is ended, so that a framework that reports no ends fills no memory."""
    monkeypatch.setattr(_runs, "_MAX_RUNS", 2)
    runs = OpenRuns("some_framework")
    for number in range(3):
        runs.begin(number, None, "tool", f"t{number}")
    assert outcomes(spans) == {"execute_tool t0": "cancelled"}
    assert len(runs) == 2


@pytest.mark.parametrize(("capture_content", "kept"), [(False, (None, {})), (True, ("sunny", {"page": 1}))])
def test_texts_of_documents_are_kept_only_with_content(capture_content: bool, kept: Any) -> None:
    """Without content, a run keeps ids and scores alone; a document without an id has that of its text."""
    with llmtrace.instrument(store="off", strict=True, capture_content=capture_content):
        run = OpenRuns("some_framework").begin(1, None, "retrieval", "atlas")
        run.add_documents([{"id": "d1", "score": 0.5, "content": "sunny", "metadata": {"page": 1}}, {"text": "rain"}])
        first, second = run.operation.documents
        run.end()
    assert (first.id, first.score, first.content, first.metadata) == ("d1", 0.5, *kept)
    assert second.id == "sha256:319b44c570a4"


def test_documents_of_a_step_reach_later_steps_alone(spans: InMemorySpanExporter) -> None:
    """Children that run at the same time do not share documents; those of the next step get all of them."""
    runs = OpenRuns("some_framework")
    runs.begin("graph", None, "workflow", "g")
    received = {}
    for key, step in (("a", 1), ("b", 1), ("c", 2)):
        run = runs.begin(key, "graph", "workflow", key, step=step)
        run.attach()
        received[key] = [document.id for document in llmtrace.current().documents]
        with llmtrace.retrieval("atlas") as search:
            search.add([(f"from {key}", 0.5)])
        run.detach()
        runs.end(key)
    runs.end("graph")
    assert received == {"a": [], "b": [], "c": ["from a", "from b"]}


@pytest.mark.faulty
def test_result_that_cannot_be_read_ends_its_operation(caplog: pytest.LogCaptureFixture) -> None:
    """A fault in a reader is logged, the operation ends, and the caller gets the result."""
    from agent_server import provider_and_exporter

    provider, exporter = provider_and_exporter()
    broken = TracedMethod("lib", "tool", lambda *_: "t", read_documents=lambda result: 1 / 0)
    with llmtrace.instrument(tracer_provider=provider):
        assert broken.call(lambda: "result", None, (), {}) == "result"
        nameless = TracedMethod("lib", "tool", lambda *_: 1 / 0)
        assert nameless.call(lambda: "result", None, (), {}) == "result"
    assert [span.name for span in exporter.get_finished_spans()] == ["execute_tool t"]
    assert "could not end an operation of lib (ZeroDivisionError)" in caplog.text
    assert "could not begin an operation of lib (ZeroDivisionError)" in caplog.text


def test_methods_that_call_one_another_have_one_span(spans: InMemorySpanExporter) -> None:
    """A method that calls its twin is one operation, and an error of the application passes through."""
    traced = TracedMethod("lib", "agent", lambda *_: "a")

    def fail() -> None:
        traced.call(lambda: {}["absent"], None, (), {})

    with pytest.raises(KeyError, match="absent"):
        traced.call(fail, None, (), {})
    assert outcomes(spans) == {"invoke_agent a": "error"}
    assert (only(spans.get_finished_spans(), "invoke_agent a").attributes or {})["error.type"] == "KeyError"


def test_part_is_hooked_when_its_running_import_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module whose import is running is hooked afterwards, and not while it is incomplete."""
    module, spec = ModuleType("some_part"), ModuleSpec("some_part", None)
    spec._initializing = True  # type: ignore[attr-defined] # as importlib does
    module.__spec__ = spec
    monkeypatch.setitem(sys.modules, "some_part", module)
    patches, installed = Patches(), []
    patches.joined = lambda: installed.append("joined")
    patches.when_imported("some_part", lambda part, _: installed.append(part.complete))
    assert installed == []
    module.complete = True  # type: ignore[attr-defined] # the rest of the module
    spec._initializing = False  # type: ignore[attr-defined]
    while len(installed) < 2:
        pass
    assert installed == [True, "joined"]


def test_json_is_parsed_where_it_is_an_object() -> None:
    """Arguments come as JSON objects; other texts and values stay as they are."""
    assert parse_json('{"city": "Paris"}') == {"city": "Paris"}
    assert [parse_json(text) for text in ("{broken", "text", 1, None)] == ["{broken", "text", 1, None]
