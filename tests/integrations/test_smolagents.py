"""Runs of smolagents are one trace each."""

from __future__ import annotations

import gc
import os
import sys
from typing import Any

import pytest
from agent_server import AgentServer, check_money, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.capture import worker
from llmtrace.telemetry.operations import OperationSpans

pytest.importorskip("smolagents")

from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool

pytestmark = [pytest.mark.usefixtures("agent_server"), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@tool
def weather(city: str) -> str:
    """Weather of a city.

    Args:
        city: The city.
    """
    with llmtrace.retrieval("atlas") as search:
        search.add([("d1", 0.5)])
    return f"sunny in {city}"


def meteo() -> Any:
    model = OpenAIModel("gpt-4o-mini", api_base=os.environ["OPENAI_BASE_URL"], api_key="k")
    return ToolCallingAgent(tools=[weather], model=model, name="meteo", description="d", max_steps=2, verbosity_level=0)


@pytest.mark.parametrize("stream", [False, True])
def test_agent_run_is_one_trace(spans: InMemorySpanExporter, stream: bool) -> None:
    """An agent has its tool below it, and the context of a stream's caller is unchanged between the steps."""
    with llmtrace.tag(feature="trip"):
        result = meteo().run("weather in Paris?", stream=stream)
        if stream:
            next(result)
            assert llmtrace.current().agent is None
            list(result)
    finished = spans.get_finished_spans()
    assert tree(finished)[:4] == ["invoke_agent meteo", "  chat gpt-4o-mini", "  execute_tool weather", "    retrieval"]
    check_money(finished, calls=sum(span.name.startswith("chat") for span in finished))
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    last = max((span for span in finished if span.name.startswith("chat")), key=lambda span: span.start_time or 0)
    assert (last.attributes or {})["llmtrace.retrieval.document_ids"] == ("d1",)


def test_tools_in_the_code_of_a_model_are_below_its_agent(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Code of a model runs in a thread of smolagents, with the span and tags of the agent."""
    monkeypatch.setattr("agent_server._message", _write_code)
    model = OpenAIModel("gpt-4o-mini", api_base=os.environ["OPENAI_BASE_URL"], api_key="k")
    with llmtrace.tag(feature="trip"):
        assert CodeAgent([weather], model, verbosity_level=0).run("weather in Paris?") == "sunny in Paris"
    finished = spans.get_finished_spans()
    assert tree(finished) == [
        "invoke_agent CodeAgent",
        "  chat gpt-4o-mini",
        "  execute_tool weather",
        "    retrieval",
        "  chat gpt-4o-mini",
        "  execute_tool final_answer",
    ]
    assert {(span.attributes or {})["llmtrace.feature"] for span in finished} == {"trip"}
    calls = [span.attributes or {} for span in finished if span.name.startswith("chat")]
    assert [each.get("llmtrace.retrieval.document_ids") for each in calls] == [None, ("d1",)]


def _write_code(request: Any) -> Any:
    code = "final_answer(report)" if len(request["messages"]) > 2 else 'report = weather("Paris")'
    return {"role": "assistant", "content": f"<code>\n{code}\n</code>"}, "stop"


def test_stream_that_is_left_ends_its_span(spans: InMemorySpanExporter) -> None:
    """A caller that leaves a stream ends the run, and gets the exception that smolagents raises then."""
    stream = meteo().run("weather in Paris?", stream=True)
    next(stream)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        stream.close()
    assert (only(spans.get_finished_spans(), "invoke_agent meteo").attributes or {})["llmtrace.outcome"] == "ok"


def test_errors_end_every_span(spans: InMemorySpanExporter, agent_server: AgentServer) -> None:
    """The error of a call reaches the application, and the agent's span records it."""
    agent_server.status = 400
    with pytest.raises(Exception, match="400"):
        meteo().run("weather in Paris?")
    assert (only(spans.get_finished_spans(), "invoke_agent meteo").attributes or {})["llmtrace.outcome"] == "error"


def test_stream_that_is_collected_ends_its_span_on_the_worker(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that the collector finds does not end on that thread, which may hold any lock."""
    ended: list[bool] = []
    raised: list[str] = []
    end = OperationSpans._end
    monkeypatch.setattr(OperationSpans, "_end", lambda *args: (ended.append(worker.is_worker()), end(*args)))
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: raised.append(str(unraisable.exc_value)))
    stream = meteo().run("weather in Paris?", stream=True)
    next(stream)
    ended.clear()
    del stream
    gc.collect()
    assert worker.drain(30)
    assert raised == ["generator ignored GeneratorExit"]  # smolagents yields when it is closed
    assert ended == [True]
    assert only(spans.get_finished_spans(), "invoke_agent meteo")
