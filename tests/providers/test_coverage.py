"""Every cell of the coverage table: each entry point of the installed SDKs, in each colour, in each way to read it."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from answers import (
    CHAT,
    CHAT_CHUNKS,
    CHAT_USAGE,
    MESSAGE,
    MESSAGE_EVENTS,
    RESPONSE,
    RESPONSE_EVENTS,
    sse,
)
from entry_points import READINGS, EntryPoint, arguments_for, entry_points, page, provider_named
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.capture import background
from llmtrace.model.wire_format import WireFormat
from llmtrace.providers import RERANK
from llmtrace.providers.anthropic import messages
from llmtrace.providers.openai import agents, assistants, batches, chat, embeddings, evals, media, responses
from llmtrace.telemetry.names import operation_of
from stainless_clients import MODULES, make_client

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "coverage.md"

TOKENS = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
TEXT = {**CHAT, "object": "text_completion", "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}]}
IMAGE = {"created": 1, "data": [{"b64_json": "aGk="}], "usage": TOKENS}
COMPLETION = {"type": "completion", "id": "compl_1", "completion": "hi", "stop_reason": "stop_sequence", "model": "m-1"}
RUN = {
    "id": "run_1",
    "object": "thread.run",
    "thread_id": "thread_1",
    "assistant_id": "asst_1",
    "status": "completed",
    "model": "m-1",
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}
SESSION = {"id": "sess_1", "object": "agent.session", "agent": {"id": "agent_1", "model": "m-1"}, "status": "idle"}
TURN = {"id": "turn_1", "object": "agent.session.turn", "session_id": "sess_1", "status": "completed", "usage": TOKENS}
IDLE = {"type": "agent.session.idle", "event_id": "e2", "session": SESSION}
TURN_EVENTS = [{"type": "agent.session.turn.completed", "event_id": "e1", "turn_id": "turn_1", "turn": TURN}, IDLE]
TRANSCRIPT = {"text": "hi", "usage": {"type": "tokens", **TOKENS}}

#: What a server answers in each wire format: plain, and as the events of a stream.
ANSWERS: dict[Any, tuple[Any, list[Any]]] = {
    chat.CHAT: (CHAT, CHAT_CHUNKS),
    chat.COMPLETIONS: (TEXT, [{**TEXT, "usage": None}, {**TEXT, "choices": [], "usage": CHAT_USAGE}]),
    embeddings.EMBEDDINGS: (
        {
            "object": "list",
            "model": "m-1",
            "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
            "usage": {"prompt_tokens": 7, "total_tokens": 7},
        },
        [],
    ),
    RERANK: ({"id": "r-1", "model": "m-1", "results": [], "usage": {"total_tokens": 7}}, []),
    media.MODERATIONS: ({"id": "modr-1", "model": "m-1", "results": []}, []),
    responses.RESPONSES: (RESPONSE, RESPONSE_EVENTS),
    responses.RETRIEVE_RESPONSE: (RESPONSE, RESPONSE_EVENTS),
    responses.COMPACT: ({**RESPONSE, "object": "response.compaction"}, []),
    responses.DECISIONS: ({"model": "m-1", "answers": [], "usage": TOKENS}, []),
    responses.INPUT_TOKENS: ({"object": "response.input_tokens", "input_tokens": 7}, []),
    media.IMAGES: (
        IMAGE,
        [
            {"type": "image_generation.partial_image", "b64_json": "aA==", "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": "aGk=", "usage": TOKENS},
        ],
    ),
    media.SPEECH: (
        {},
        [{"type": "speech.audio.delta", "audio": "aA=="}, {"type": "speech.audio.done", "usage": TOKENS}],
    ),
    media.TRANSCRIPTIONS: (
        TRANSCRIPT,
        [
            {"type": "transcript.text.delta", "delta": "hi"},
            {"type": "transcript.text.done", "text": "hi", "usage": TOKENS},
        ],
    ),
    messages.MESSAGES: (MESSAGE, MESSAGE_EVENTS),
    messages.COUNT_TOKENS: ({"input_tokens": 7}, []),
    messages.COMPLETE: (COMPLETION, [{**COMPLETION, "stop_reason": None}, COMPLETION]),
    assistants.RUN: (RUN, [{**RUN, "status": "in_progress", "usage": None}, RUN]),
    assistants.RETRIEVE_RUN: (RUN, []),
    agents.SESSION: (SESSION, TURN_EVENTS),
    agents.SESSION_UPDATE: (SESSION, []),
    agents.SESSION_INPUT: ({}, []),
    agents.SESSION_EVENTS: ({}, [IDLE]),
    agents.TURNS: ({"data": [], "has_more": False}, []),
    agents.TURN: (TURN, []),
    evals.EVAL_RUN: (
        {
            "id": "evalrun_1",
            "object": "eval.run",
            "status": "completed",
            "per_model_usage": [{"model_name": "m-1", "prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}],
        },
        [],
    ),
    batches.BATCH: ({"id": "batch_1", "object": "batch", "status": "completed", "model": "m-1", "usage": TOKENS}, []),
}
# Token counts on the span of a plain call, where they differ from 7 and 3.
EXPECTED: dict[Any, tuple[int | None, int | None]] = {
    embeddings.EMBEDDINGS: (7, None),
    RERANK: (7, None),
    media.MODERATIONS: (None, None),
    responses.RETRIEVE_RESPONSE: (None, None),
    responses.INPUT_TOKENS: (None, None),
    messages.COUNT_TOKENS: (None, None),
    messages.COMPLETE: (None, None),
    assistants.RETRIEVE_RUN: (None, None),
    agents.SESSION_INPUT: (None, None),
    agents.SESSION_UPDATE: (None, None),
    agents.SESSION_EVENTS: (None, None),
    agents.TURNS: (None, None),
}


def known(wire: WireFormat) -> WireFormat:
    """Return the key of a wire format in the tables above: libraries of other vendors adapt OpenAI's readers."""
    return wire if wire in ANSWERS else next(one for one in ANSWERS if one.content is wire.content)


POLLING = ("_poll",)
HANDLING = ("_and_stream", "_run_stream", "_outputs_stream")
"""What these methods end with: they call those of other cells, twice or behind a handler of events."""


def cells(sdk: str, reading: str, runs: bool) -> list[EntryPoint]:
    """Return the methods of a client that can be read in a way: those that start a run and follow it, or the others."""
    points = [point for point in entry_points(sdk) if reading in point.readings]
    return [point for point in points if point.name.endswith(POLLING + HANDLING) is runs]


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


async def every(items: Any) -> list[Any]:
    return [item async for item in items] if hasattr(items, "__aiter__") else list(items)


async def full(result: Any) -> None:
    """Read a result to its end, whatever it is: an answer, a stream, a manager of one, a runner of several."""
    if hasattr(result, "__aenter__") or hasattr(result, "__enter__"):
        if hasattr(result, "__aenter__"):
            async with result as opened:
                await _read(opened)
        else:
            with result as opened:
                await _read(opened)
    elif hasattr(result, "__next__") or hasattr(result, "__anext__"):
        for item in await every(result):
            await full(item)


async def _read(opened: Any) -> None:
    if hasattr(opened, "http_response"):
        assert await settled(opened.read())
    elif hasattr(opened, "__aiter__") or hasattr(opened, "__iter__"):
        assert await every(opened)


async def make(point: EntryPoint, client: Any, reading: str) -> None:
    *path, name = point.name.split(".")
    resource = client
    for step in path:
        resource = getattr(resource, step)
    arguments = arguments_for(getattr(resource, name))
    if "stream" in reading.split() and name != "stream":
        arguments["stream"] = True
    if reading.startswith("raw"):
        resource = resource.with_raw_response
    elif reading == "streaming response":
        resource = resource.with_streaming_response
    result = await settled(getattr(resource, name)(**arguments))
    if reading.startswith("raw"):
        result = await settled(result.parse())
    if name == "tool_runner" and reading == "stream":
        await _each_while_open(result)
    else:
        await full(result)


async def _each_while_open(runner: Any) -> None:
    if hasattr(runner, "__aiter__"):
        async for stream in runner:
            await every(stream)
    else:
        for stream in runner:
            list(stream)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("sdk", MODULES)
async def test_methods(loopback: Loopback, spans: InMemorySpanExporter, sdk: str, colour: str, reading: str) -> None:
    """A call of each method, sync or async, read in any way, is one span with the values of the response."""
    points = cells(sdk, reading, runs=False)
    assert points
    await check_each(check_method, points, reading, make_client(sdk, colour, loopback.url), loopback, spans)


async def check_each(
    check: Any, points: list[EntryPoint], reading: str, client: Any, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    for point in points:
        loopback.received.clear()
        spans.clear()
        background.forget()  # all objects have the same id
        await check(point, reading, client, loopback, spans)
    await settled(client.close())


async def check_method(
    point: EntryPoint, reading: str, client: Any, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    wire = known(point.wire)
    answer, events = ANSWERS[wire]
    if point.sdk == "together" and wire == media.SPEECH:
        events = [{"object": "audio.tts.chunk", "model": "m", "b64": "aA=="}]
    streamed = "stream" in reading.split()
    done = wire is not messages.MESSAGES and not point.path.startswith(("/responses", "/agents"))
    loopback.will(stream_answer(sse(events, done=done)) if streamed else json_answer(answer))
    await make(point, client, reading)

    assert [requested.path.partition("?")[0] for requested in loopback.received] == [point.path], point
    (span,) = spans.get_finished_spans()
    got = dict(span.attributes or {})
    assert operation_of(got) == point.operation, point
    assert got["gen_ai.provider.name"] == provider_named(point.sdk).default_provider, point
    assert got["llmtrace.outcome"] == "ok", point
    assert got.get("llmtrace.stream.end") == ("exhausted" if streamed else None), point
    reported = (got.get("gen_ai.usage.input_tokens"), got.get("gen_ai.usage.output_tokens"))
    silent = wire == media.SPEECH and (not streamed or point.sdk == "together")
    silent = silent or (wire == agents.SESSION and not streamed)
    assert reported == ((None, None) if silent else EXPECTED.get(wire, (7, 3))), point


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_methods_that_follow_a_run(loopback: Loopback, spans: InMemorySpanExporter, colour: str) -> None:
    """A method that starts a run and polls it has one span per request, one of them with usage."""
    for reading in READINGS:
        points = cells("openai", reading, runs=True)
        await check_each(check_run, points, reading, make_client("openai", colour, loopback.url), loopback, spans)


async def check_run(
    point: EntryPoint, reading: str, client: Any, loopback: Loopback, spans: InMemorySpanExporter
) -> None:
    answer, events = ANSWERS[point.wire]
    handled = point.name.endswith(HANDLING)
    loopback.will(stream_answer(sse(events, done=True)) if handled else json_answer(answer))
    await make(point, client, reading)

    assert loopback.received[0].path == point.path
    assert len(loopback.received) == (1 if handled else 2), point
    run, *fetched = (dict(span.attributes or {}) for span in spans.get_finished_spans())
    assert len(fetched) == len(loopback.received) - 1, point
    assert run["gen_ai.operation.name"] == "invoke_agent", point
    assert (run["gen_ai.usage.input_tokens"], run["gen_ai.usage.output_tokens"]) == (7, 3), point
    assert run.get("llmtrace.stream.end") == ("exhausted" if handled else None), point
    assert [got["gen_ai.operation.name"] for got in fetched] == ["fetch_response"] * len(fetched), point
    assert not [name for got in fetched for name in got if name.startswith("gen_ai.usage.")], point


def test_the_page_is_current() -> None:
    """The page in the documentation is what the code gives for the releases that it names."""
    written = PAGE.read_text(encoding="utf-8")
    distributions = [*(provider_named(sdk).distribution for sdk in MODULES), "mistralai"]
    named = dict(re.findall(r"^## (\S+) (\S+)$", written, re.MULTILINE))
    if named != {name: version(name) for name in distributions}:
        pytest.skip(f"the page is of {named}")
    assert written == page()
