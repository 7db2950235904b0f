"""Usage that is reported after creation is billed once, on the fetch that first sees the end."""

from __future__ import annotations

import gc
import os
from typing import Any

import openai
import pytest
from answers import RESPONSE, sse
from google import genai
from google.genai import types
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace.capture.background import BackgroundUsage

pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*[Ii]nteractions.*:UserWarning"),
]

USAGE = {**RESPONSE["usage"], "input_tokens": 1000, "output_tokens": 2000, "total_tokens": 3000}
COST = 0.02125
_ids = iter(range(10_000))
needs_responses = pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="this release has none")


def new_id() -> str:
    """Return an id that no other test of this process uses."""
    return f"resp_{os.getpid()}_{next(_ids)}"


def response(identifier: str, status: str = "completed", *, usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    ended = status in ("completed", "failed", "cancelled", "incomplete")
    return {
        **RESPONSE,
        "id": identifier,
        "status": status,
        "model": "gpt-5",
        "background": True,
        "output": [],
        "usage": usage if ended else None,
        **more,
    }


def make_client(loopback: Loopback) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{loopback.url}/v1", api_key="x", max_retries=0)


def billed_usage(spans: InMemorySpanExporter) -> list[tuple[int, float | None]]:
    """Return tokens and cost of each span, in the order of their ends."""
    found = []
    for span in spans.get_finished_spans():
        attributes = dict(span.attributes or {})
        tokens = attributes.get("gen_ai.usage.input_tokens", 0) + attributes.get("gen_ai.usage.output_tokens", 0)
        cost = attributes.get("llm.cost.total")
        found.append((tokens, None if cost is None else round(cost, 9)))
    return found


NOTHING = (0, None)


@needs_responses
def test_polled_response_is_billed_on_the_fetch_that_sees_the_end(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """Usage, cost and ``collect()`` are on the first fetch that sees the end, and on no other span."""
    name = new_id()
    loopback.will(*(json_answer(response(name, status)) for status in ("queued", "in_progress", "completed")))
    with make_client(loopback) as client, llmtrace.collect() as calls:
        client.responses.create(model="gpt-5", input="hi", background=True)
        for _ in range(4):
            client.responses.retrieve(name)
    assert billed_usage(spans) == [NOTHING, NOTHING, (3000, COST), NOTHING, NOTHING]
    assert (calls.usage.input, calls.usage.output) == (1000, 2000)
    assert float(calls.cost.total) == COST
    attributes = dict(spans.get_finished_spans()[2].attributes or {})
    assert attributes["llmtrace.usage.source"] == "provider"
    assert attributes["gen_ai.response.status"] == "completed"
    assert "llmtrace.usage.source" not in dict(spans.get_finished_spans()[3].attributes or {})


@needs_responses
async def test_polled_response_is_billed_once_by_the_async_client(
    loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    """The asynchronous client bills as the synchronous one does."""
    name = new_id()
    loopback.will(json_answer(response(name, "queued")), json_answer(response(name)))
    async with openai.AsyncOpenAI(base_url=f"{loopback.url}/v1", api_key="x", max_retries=0) as client:
        await client.responses.create(model="gpt-5", input="hi", background=True)
        await client.responses.retrieve(name)
        await client.responses.retrieve(name)
    assert billed_usage(spans) == [NOTHING, (3000, COST), NOTHING]


@needs_responses
def test_raw_responses_are_billed_once(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A fetch whose body the caller reads is billed like any other."""
    name = new_id()
    loopback.will(json_answer(response(name, "queued")), json_answer(response(name)))
    with make_client(loopback) as client:
        client.responses.with_raw_response.create(model="gpt-5", input="hi", background=True)
        with client.responses.with_streaming_response.retrieve(name) as raw:
            raw.read()
        client.responses.with_raw_response.retrieve(name).parse()
    assert billed_usage(spans) == [NOTHING, (3000, COST), NOTHING]


@needs_responses
@pytest.mark.parametrize("status", ["cancelled", "failed", "incomplete"])
def test_ended_response_is_billed_however_it_ended(
    loopback: Loopback, spans: InMemorySpanExporter, status: str
) -> None:
    """A cancelled, failed or incomplete response bills the usage that it reports."""
    name = new_id()
    loopback.will(json_answer(response(name, "queued")), json_answer(response(name, status)))
    with make_client(loopback) as client:
        client.responses.create(model="gpt-5", input="hi", background=True)
        client.responses.retrieve(name)
        client.responses.retrieve(name)
    assert billed_usage(spans) == [NOTHING, (3000, COST), NOTHING]


@needs_responses
def test_cancellation_bills_its_usage(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """The response to a cancellation may be the first that reports the end."""
    name = new_id()
    loopback.will(json_answer(response(name, "queued")), json_answer(response(name, "cancelled")))
    with make_client(loopback) as client:
        client.responses.create(model="gpt-5", input="hi", background=True)
        client.responses.cancel(name)
        client.responses.retrieve(name)
    assert billed_usage(spans) == [NOTHING, (3000, COST), NOTHING]
    attributes = dict(spans.get_finished_spans()[1].attributes or {})
    assert (attributes["llmtrace.api"], attributes["gen_ai.response.id"]) == ("openai.responses.cancel", name)


@needs_responses
def test_usage_reported_by_the_creation_is_not_billed_again(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """If the creation reported usage, fetches add nothing."""
    name = new_id()
    loopback.will(json_answer(response(name)))
    with make_client(loopback) as client:
        client.responses.create(model="gpt-5", input="hi", background=True)
        client.responses.retrieve(name)
    assert billed_usage(spans) == [(3000, COST), NOTHING]


@needs_responses
@pytest.mark.parametrize("flag", [False, None])
def test_object_that_did_not_run_in_the_background_adds_nothing(
    loopback: Loopback, spans: InMemorySpanExporter, flag: bool | None
) -> None:
    """A response created by another process adds nothing unless its own flag says background."""
    loopback.will(json_answer(response(new_id(), background=flag)))
    with make_client(loopback) as client:
        client.responses.retrieve("resp_other")
    assert billed_usage(spans) == [NOTHING]


@needs_responses
def test_fetch_of_another_process_is_billed_by_its_flag(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A background response that another process created is billed here, once."""
    name = new_id()
    loopback.will(json_answer(response(name)))
    with make_client(loopback) as client:
        client.responses.retrieve(name)
        client.responses.retrieve(name)
    assert billed_usage(spans) == [(3000, COST), NOTHING]


def events_of(name: str, *statuses: str) -> list[bytes]:
    kinds = {"queued": "response.created"}
    events = [
        {"type": kinds.get(status, f"response.{status}"), "sequence_number": n, "response": response(name, status)}
        for n, status in enumerate(statuses)
    ]
    return sse(events)


@needs_responses
@pytest.mark.parametrize("by_bytes", [False, True])
def test_resumed_stream_is_billed_at_its_end(loopback: Loopback, spans: InMemorySpanExporter, by_bytes: bool) -> None:
    """A cut background stream is billed where it is resumed to its end, and nowhere else."""
    name = new_id()
    loopback.will(
        stream_answer(events_of(name, "queued", "in_progress")),
        stream_answer(events_of(name, "in_progress")),
        stream_answer(events_of(name, "in_progress", "completed")),
        json_answer(response(name)),
    )
    with make_client(loopback) as client:
        list(client.responses.create(model="gpt-5", input="hi", background=True, stream=True))
        list(client.responses.retrieve(name, stream=True, starting_after=1))
        if by_bytes:
            with client.responses.with_streaming_response.retrieve(name, stream=True, starting_after=1) as raw:
                list(raw.iter_lines())
        else:
            list(client.responses.retrieve(name, stream=True, starting_after=1))
        client.responses.retrieve(name)
    assert billed_usage(spans) == [NOTHING, NOTHING, (3000, COST), NOTHING]


@needs_responses
def test_background_stream_read_to_its_end_is_billed_there(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A background stream that reports its usage leaves nothing to a later fetch."""
    name = new_id()
    loopback.will(stream_answer(events_of(name, "queued", "completed")), json_answer(response(name)))
    with make_client(loopback) as client:
        list(client.responses.create(model="gpt-5", input="hi", background=True, stream=True))
        client.responses.retrieve(name)
    assert billed_usage(spans) == [(3000, COST), NOTHING]


def run(name: str, status: str) -> dict[str, Any]:
    ended = status in ("completed", "failed", "cancelled", "expired")
    return {
        "id": name,
        "object": "thread.run",
        "thread_id": "thread_1",
        "assistant_id": "asst_1",
        "status": status,
        "model": "gpt-4o",
        "usage": {"prompt_tokens": 1000, "completion_tokens": 2000, "total_tokens": 3000} if ended else None,
    }


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_polled_run_is_billed_once(loopback: Loopback, spans: InMemorySpanExporter, status: str) -> None:
    """``create_and_poll`` bills the run on the poll that sees its end."""
    name = new_id()
    headers = {"openai-poll-after-ms": "1"}
    loopback.will(*(json_answer(run(name, each), headers=headers) for each in ("queued", "in_progress", status)))
    with make_client(loopback) as client:
        runs = client.beta.threads.runs
        runs.create_and_poll(thread_id="thread_1", assistant_id="asst_1", poll_interval_ms=1)
        runs.retrieve(name, thread_id="thread_1")
    assert [tokens for tokens, _ in billed_usage(spans)] == [0, 0, 3000, 0]


def test_run_of_another_process_adds_nothing(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A run has no background flag: only the process that created it bills its polls."""
    loopback.will(json_answer(run(new_id(), "completed")))
    with make_client(loopback) as client:
        client.beta.threads.runs.retrieve("run_other", thread_id="thread_1")
    assert billed_usage(spans) == [NOTHING]


def test_run_that_submits_tool_outputs_is_billed_once(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A run that waited for its tools reports the usage of all its steps at its end."""
    name = new_id()
    loopback.will(*(json_answer(run(name, each)) for each in ("queued", "requires_action", "queued", "completed")))
    with make_client(loopback) as client:
        runs = client.beta.threads.runs
        runs.create(thread_id="thread_1", assistant_id="asst_1")
        runs.retrieve(name, thread_id="thread_1")
        runs.submit_tool_outputs(name, thread_id="thread_1", tool_outputs=[])
        runs.retrieve(name, thread_id="thread_1")
        runs.retrieve(name, thread_id="thread_1")
    assert [tokens for tokens, _ in billed_usage(spans)] == [0, 0, 0, 3000, 0]


def interaction(name: str, status: str) -> dict[str, Any]:
    usage = {"total_input_tokens": 1000, "total_output_tokens": 2000, "total_tokens": 3000}
    attributes = {"id": name, "object": "interaction", "model": "gemini-2.5-flash", "status": status, "outputs": []}
    return {**attributes, "usage": usage} if status == "completed" else attributes


@pytest.mark.skipif(not hasattr(genai.Client, "interactions"), reason="this release has no interactions")
@pytest.mark.parametrize(
    ("requested", "tokens"),
    [
        ({"model": "gemini-2.5-flash", "background": True}, [0, 0, 3000, 0]),
        ({"agent": "deep-research"}, [0, 0, 3000, 0]),
        ({"model": "gemini-2.5-flash"}, [0, 0, 0, 0]),
    ],
)
def test_background_interaction_is_billed_once(
    loopback: Loopback, spans: InMemorySpanExporter, requested: dict[str, Any], tokens: list[int]
) -> None:
    """An interaction in the background, and one of an agent, bills on the first fetch that sees the end."""
    name = new_id()
    loopback.will(*(json_answer(interaction(name, each)) for each in ("in_progress", "in_progress", "completed")))
    client = genai.Client(api_key="k", http_options=types.HttpOptions(base_url=loopback.url))
    client.interactions.create(input="hi", **requested)
    for _ in range(3):
        client.interactions.get(name)
    del client
    gc.collect()
    assert [found for found, _ in billed_usage(spans)] == tokens


@needs_responses
def test_blocking_budget_keeps_the_reservation_until_the_fetch(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A creation's reservation is held until its usage is reported; the fetch itself is never refused."""
    name = new_id()
    llmtrace.budget(f"background-{name}", usd="0.05", per="total", action="block", match={"tag": name})
    loopback.will(json_answer(response(name, "queued")))
    with make_client(loopback) as client, llmtrace.tag(tags=(name,)):
        # 4,000 tokens of output may cost 0.04 USD.
        client.responses.create(model="gpt-5", input="hi", background=True, max_output_tokens=4000)
        with pytest.raises(llmtrace.BudgetExceeded):
            client.responses.create(model="gpt-5", input="hi", background=True, max_output_tokens=4000)
        client.responses.retrieve(name)
        loopback.will(json_answer(response(name)))
        client.responses.retrieve(name)
        # 0.02125 USD are spent, and nothing is reserved any more.
        loopback.will(json_answer(response(new_id(), usage={**USAGE, "input_tokens": 0, "output_tokens": 4000})))
        client.responses.create(model="gpt-5", input="hi", max_output_tokens=2800)
        with pytest.raises(llmtrace.BudgetExceeded):
            client.responses.create(model="gpt-5", input="hi", max_output_tokens=10)
        loopback.will(json_answer(response(name)))
        client.responses.retrieve(name)
    assert [cost for _, cost in billed_usage(spans)] == [None, None, None, COST, 0.04, None, None]


@needs_responses
def test_metrics_count_the_tokens_of_a_fetch_once(loopback: Loopback) -> None:
    """Token and cost metrics of a background response are recorded by the fetch that bills it."""
    name = new_id()
    reader = InMemoryMetricReader()
    llmtrace.instrument(
        tracer_provider=TracerProvider(), meter_provider=MeterProvider(metric_readers=[reader]), strict=True
    )
    try:
        loopback.will(json_answer(response(name, "queued")), json_answer(response(name)))
        with make_client(loopback) as client:
            client.responses.create(model="gpt-5", input="hi", background=True)
            client.responses.retrieve(name)
            client.responses.retrieve(name)
        found = reader.get_metrics_data()
    finally:
        llmtrace.uninstrument()
    assert found is not None
    sums = {
        metric.name: sum(getattr(point, "sum", getattr(point, "value", 0)) for point in metric.data.data_points)
        for resource in found.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert sums["gen_ai.client.token.usage"] == 3000
    assert round(sums["llmtrace.client.cost"], 9) == COST


def test_ids_are_bounded() -> None:
    """The oldest ids are removed above the limit."""
    ids = BackgroundUsage(max_ids=3)
    for number in range(10):
        ids.record_creation(f"a{number}", reported=False)
        assert ids.claim(f"b{number}", background=True) == (True, None)
    assert len(ids._awaited) == len(ids._billed) == 3
    assert ids.claim("a9", background=False)[0]
    assert not ids.claim("a0", background=False)[0]
    assert not ids.claim("b9", background=True)[0]


def test_many_ids_are_forgotten_at_once() -> None:
    """With each id that is removed, the oldest of those left takes longer to find."""
    ids = BackgroundUsage(max_ids=160)
    for number in range(161):
        assert ids.claim(f"a{number}", background=True)[0]
    assert len(ids._billed) == 150
    assert ids.claim("a10", background=True)[0]
    assert not ids.claim("a11", background=True)[0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_forked_child_does_not_bill_again() -> None:
    """A child has the ids that its parent had billed when it forked."""
    ids = BackgroundUsage()
    ids.record_creation("awaited", reported=False)
    ids.record_creation("billed", reported=True)
    child = os.fork()
    if child == 0:
        same = not ids.claim("billed", background=True)[0] and ids.claim("awaited", background=False)[0]
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
