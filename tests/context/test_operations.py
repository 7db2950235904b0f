"""Tools, agents, workflows, collected calls and their sums."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import openai
import pytest
from loopback_vendor import Vendor, by_name, only
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

import llmtrace
from llmtrace import Call, Calls, Cost, Usage, agent, collect, tag, tool, workflow


def ask(vendor: Vendor, **more: Any) -> Any:
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client:
        return client.chat.completions.create(model="m", messages=[], **more)


def test_spans_of_operations_nest_and_carry_the_tags(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """Workflow, agent, tool and call are one trace, each below the other, with session and user on every span."""

    @tool("search")
    def find(query: str) -> str:
        """Finds things.

        And more.
        """
        ask(vendor)
        return query

    with tag(user="u", session="s", feature="f", tenant="t", tags="x", plan="pro"), workflow("w"), agent("a"):
        assert find("marker") == "marker"
    chain = [by_name(spans, name)[0] for name in ("invoke_workflow w", "invoke_agent a", "execute_tool search", "chat")]
    for outer, inner in pairwise(chain):
        assert inner.parent.span_id == outer.context.span_id
    for span in chain:
        attributes = span.attributes
        assert (attributes["user.id"], attributes["session.id"], attributes["llmtrace.feature"]) == ("u", "s", "f")
        assert (attributes["llmtrace.tenant"], attributes["tag.tags"], attributes["llmtrace.tag.plan"]) == (
            "t",
            ("x",),
            "pro",
        )
        assert json.loads(attributes["metadata"]).items() >= {"feature": "f", "plan": "pro"}.items()
    attributes = chain[2].attributes
    assert (attributes["gen_ai.tool.name"], attributes["gen_ai.tool.type"], attributes["gen_ai.agent.name"]) == (
        "search",
        "function",
        "a",
    )
    assert attributes["gen_ai.tool.description"] == "Finds things."
    assert "marker" not in str([dict(span.attributes) for span in chain])


@dataclass
class Answer:
    text: str
    extra: object


def test_arguments_and_results_are_recorded_with_content(open_spans: InMemorySpanExporter) -> None:
    """Arguments by name and the return value are JSON objects, redacted; other values are named by type."""

    @tool("search")
    async def find(query: str, *, limit: int = 3, **more: object) -> Answer:
        return Answer("the secret", object())

    asyncio.run(find("a secret", limit=2, other={1: (2, None)}))
    attributes = only(open_spans, "execute_tool")
    assert json.loads(attributes["gen_ai.tool.call.arguments"]) == {
        "query": "a ****",
        "limit": 2,
        "more": {"other": {"1": [2, None]}},
    }
    assert json.loads(attributes["gen_ai.tool.call.result"]) == {"text": "the ****", "extra": "<object>"}
    open_spans.clear()
    with tool("by hand", arguments=["x"]) as run:
        run.result("secret")
    attributes = only(open_spans, "execute_tool")
    assert json.loads(attributes["gen_ai.tool.call.arguments"]) == {"arguments": ["x"]}
    assert json.loads(attributes["gen_ai.tool.call.result"]) == {"result": "****"}

    @workflow("w")
    def answer(question: str) -> str:
        return "the secret"

    answer("a secret")
    attributes = only(open_spans, "invoke_workflow")
    assert "a ****" in attributes["gen_ai.input.messages"]
    assert "the ****" in attributes["gen_ai.output.messages"]


def test_id_of_a_tool_call_is_recorded(spans: InMemorySpanExporter) -> None:
    """A block and a decorator for one call have the id that the model gave to it; other runs have none."""
    with tool("by hand", call_id="call_1"):
        pass
    assert tool("inline", call_id="call_2")(lambda: 5)() == 5
    with tool("unknown", call_id=""):
        pass
    found = {span.name: (span.attributes or {}).get("gen_ai.tool.call.id") for span in spans.get_finished_spans()}
    assert found == {"execute_tool by hand": "call_1", "execute_tool inline": "call_2", "execute_tool unknown": None}


def test_failing_tool_records_the_type_without_the_message(spans: InMemorySpanExporter) -> None:
    """The exception passes; the span has its type, and its message only when that is enabled."""
    error = ValueError("marker")
    with pytest.raises(ValueError, match="marker") as caught, tool("t"):
        raise error
    assert caught.value is error
    (span,) = by_name(spans, "execute_tool")
    assert span.status.status_code is StatusCode.ERROR
    assert (span.attributes["error.type"], span.attributes["llmtrace.outcome"]) == ("ValueError", "error")
    assert "marker" not in span.to_json()


def test_tool_called_with_wrong_arguments_raises_its_own_error(open_spans: InMemorySpanExporter) -> None:
    """Arguments that the function does not accept are the function's error, and no internal error."""

    @tool("t")
    def find(query: str) -> str:
        return query

    with pytest.raises(TypeError, match="limit"):
        find("q", limit=1)  # type: ignore[call-arg]
    attributes = only(open_spans, "execute_tool")
    assert attributes["error.type"] == "TypeError"
    assert "gen_ai.tool.call.arguments" not in attributes


def test_cancelled_tool_is_not_an_error(spans: InMemorySpanExporter) -> None:
    """Cancellation ends the span with its status unset."""

    async def main() -> None:
        @tool("t")
        async def stuck() -> None:
            await asyncio.Event().wait()

        task = asyncio.create_task(stuck())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    (span,) = by_name(spans, "execute_tool")
    assert (span.status.status_code, span.attributes["llmtrace.outcome"]) == (StatusCode.UNSET, "cancelled")


def test_generator_left_early_ends_its_span(spans: InMemorySpanExporter) -> None:
    """The span covers the generator from its first item to its end, however it ends, and is not current outside."""

    @workflow("w")
    def items() -> Iterator[int]:
        yield from range(5)

    for _ in items():
        with tool("outside"):
            break
    (span,) = by_name(spans, "invoke_workflow")
    assert span.attributes["llmtrace.outcome"] == "ok"
    assert only(spans, "execute_tool")
    assert by_name(spans, "execute_tool")[0].parent is None


def test_blocks_before_instrument_only_run_the_program(vendor: Vendor) -> None:
    """With nothing instrumented blocks and decorators run their bodies, and a score is not recorded."""
    with workflow("w"), tool("t", arguments=1) as run, llmtrace.retrieval("i") as r, collect() as calls:
        run.result(1)
        r.add(["a"])
        llmtrace.score("s", 1)
    assert len(calls) == 0
    assert tool("t")(lambda: 5)() == 5


def test_collect_works_with_sampling_off(vendor: Vendor) -> None:
    """Calls are collected with no span recorded and no exporter, in nested blocks each its own."""
    instrumented = llmtrace.instrument(tracer_provider=TracerProvider(sampler=ALWAYS_OFF), strict=True)
    with instrumented, collect() as outer, tag(feature="f"):
        ask(vendor)
        with collect() as inner:
            ask(vendor, user="7")
    assert [call.response_id for call in outer] == ["chatcmpl-1", "chatcmpl-7"]
    assert [call.response_id for call in inner] == ["chatcmpl-7"]
    assert inner[-1] is outer[-1]
    assert (outer.usage.input, outer.usage.output, outer.usage.reasoning) == (24, 4, None)
    assert outer[0].feature == "f"
    assert len(outer[0:1]) == 1


def test_stream_that_ends_after_the_block_is_collected(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """The list is live: a stream read after the block is added when it ends."""
    vendor.go_on.set()
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client:
        with collect() as calls:
            stream = client.chat.completions.create(model="m", messages=[], stream=True)
        assert len(calls) == 0
        list(stream)
    assert [call.streamed for call in calls] == [True]


def record(cost: Cost | None, **usage: int) -> Call:
    return Call(
        trace_id="1" * 32, span_id="1" * 16, client="openai", operation="chat", provider="openai", request_model="m",
        response_model="m", response_id=None, finish_reasons=(), usage=Usage(**usage), cost=cost, unpriced_reason=None,
        feature=None, user=None, session=None, tenant=None, tags=(), metadata={}, prompt=None, document_ids=(),
        started_at=datetime.now(UTC), duration=1.0, time_to_first_token=None, streamed=False, outcome="ok",
        error_type=None,
    )  # fmt: skip


def test_sums_are_exact_and_count_unpriced_calls() -> None:
    """Costs add up as decimals; calls without a price, or in another currency, are counted and not guessed at."""
    one = Cost(Decimal("0.1"), {"input": Decimal("0.1")}, model="m", catalog_version="1")
    two = replace(one, total=Decimal("0.2"), parts={"output": Decimal("0.2")}, approximate=True, model="n")
    calls = Calls([record(one, input=1), record(two, input=0, output=2)])
    calls.add(record(None))
    calls.add(record(replace(one, currency="EUR")))
    assert calls.cost == Cost(
        Decimal("0.3"),
        {"input": Decimal("0.1"), "output": Decimal("0.2")},
        model=None,
        catalog_version="1",
        approximate=True,
    )
    assert calls.usage == Usage(input=1, output=2)
    assert calls.unpriced == 2
    assert repr(calls) == "<4 calls, 0.3 USD, 2 unpriced>"
    assert Calls().cost.total == 0
    assert Calls().usage == Usage()


@pytest.mark.parametrize(
    ("changes", "unpriced"),
    [
        ({}, 1),
        ({"unpriced_reason": "unknown_model"}, 1),
        ({"operation": "fetch_response"}, 0),
        ({"operation": "fetch_response", "unpriced_reason": "unknown_model"}, 1),
        ({"operation": "count_tokens"}, 0),
        ({"operation": "create_cache"}, 0),
        ({"outcome": "blocked", "error_type": "llmtrace.BudgetExceeded"}, 0),
        ({"outcome": "error", "error_type": "429", "unpriced_reason": "no_usage"}, 0),
        ({"outcome": "error", "error_type": "openai.APITimeoutError", "unpriced_reason": "no_usage"}, 1),
        ({"outcome": "error", "error_type": "500", "usage": Usage(input=1), "unpriced_reason": "partial_usage"}, 1),
        ({"outcome": "cancelled", "unpriced_reason": "no_usage"}, 1),
    ],
)
def test_calls_that_bill_nothing_are_not_unpriced(changes: dict[str, Any], unpriced: int) -> None:
    """Only calls that may have cost something, with an unknown cost, are counted."""
    assert Calls([replace(record(None), **changes)]).unpriced == unpriced


def test_rollup_is_recorded_only_where_enabled(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """The sum is on the span that enables it, under names of llmtrace, and on no other."""
    with workflow("w", rollup=True), agent("a"):
        ask(vendor)
        ask(vendor)
    assert llmtrace.flush(10)
    attributes = only(spans, "invoke_workflow")
    assert (attributes["llmtrace.rollup.calls"], attributes["llmtrace.rollup.input_tokens"]) == (2, 24)
    assert attributes["llmtrace.rollup.output_tokens"] == 4
    assert not any(name.startswith(("gen_ai.usage", "llm.")) for name in attributes)
    assert not any("rollup" in name for name in only(spans, "invoke_agent"))


def test_operations_are_measured_without_sampling(vendor: Vendor) -> None:
    """Durations have name, feature, agent and error type; an agent counts its own calls, not those of agents inside."""
    reader = InMemoryMetricReader()
    meters, tracers = MeterProvider(metric_readers=[reader]), TracerProvider(sampler=ALWAYS_OFF)
    with (
        llmtrace.instrument(tracer_provider=tracers, meter_provider=meters, strict=True),
        tag(feature="help"),
        openai.OpenAI(base_url=vendor.url, api_key="x") as client,
        workflow("answer"),
        agent("clerk"),
    ):
        with tool("look up"):
            pass
        with pytest.raises(KeyError), tool("fail"):
            raise KeyError
        with llmtrace.retrieval("manuals"), workflow("inner"):
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        with agent("helper"):
            for _ in range(2):
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
    data = reader.get_metrics_data()
    assert data is not None
    (scope,) = data.resource_metrics[0].scope_metrics
    found = {
        metric.name: [dict(point.attributes) for point in metric.data.data_points]
        for metric in scope.metrics
        if metric.name.startswith("gen_ai.") and not metric.name.startswith("gen_ai.client.")
    }
    counts = {
        (metric.name.rpartition(".")[2], point.attributes["gen_ai.agent.name"]): (point.sum, point.count)
        for metric in scope.metrics
        if metric.name.endswith("_calls")
        for point in metric.data.data_points
    }
    assert counts == {
        ("inference_calls", "clerk"): (1, 1),
        ("inference_calls", "helper"): (2, 1),
        ("tool_calls", "clerk"): (2, 1),
        ("tool_calls", "helper"): (0, 1),
    }
    for_clerk = {"gen_ai.tool.type": "function", "gen_ai.agent.name": "clerk", "llmtrace.feature": "help"}
    agents = [{"gen_ai.agent.name": name, "llmtrace.feature": "help"} for name in ("helper", "clerk")]
    workflows = [
        {"gen_ai.agent.name": name, "gen_ai.workflow.name": name, "llmtrace.feature": "help"}
        for name in ("inner", "answer")
    ]
    assert found == {
        "gen_ai.execute_tool.duration": [
            {"gen_ai.tool.name": "look up", **for_clerk},
            {"gen_ai.tool.name": "fail", "error.type": "KeyError", **for_clerk},
        ],
        "gen_ai.invoke_agent.duration": [workflows[0], *agents, workflows[1]],
        "gen_ai.invoke_agent.inference_calls": agents,
        "gen_ai.invoke_agent.tool_calls": agents,
        "gen_ai.invoke_workflow.duration": workflows,
        "gen_ai.retrieval.duration": [{"gen_ai.data_source.id": "manuals", "llmtrace.feature": "help"}],
    }
    meters.shutdown()
