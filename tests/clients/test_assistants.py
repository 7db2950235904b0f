"""Runs of OpenAI assistants, through the real client, give one true span each."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")

THREAD = "thread_1HjgF1qM3kuRK2aviYYaLlxF"


async def ask(replay: Any, colour: str, cassette: str, call: Any) -> Any:
    kind = openai.OpenAI if colour == "sync" else openai.AsyncOpenAI
    client = kind(base_url=f"{replay.url}/v1", api_key="x", max_retries=0, default_headers={"x-cassette-id": cassette})
    found = await settled(call(client.beta.threads.runs))
    if hasattr(found, "__aiter__"):
        found = [event async for event in found]
    elif hasattr(found, "_iterator"):
        found = list(found)
    await settled(client.close())
    return found


async def settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_streamed_run(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """A streamed run is one agent span with the thread, the assistant and what the run took."""
    events = await ask(
        replay,
        colour,
        "openai-threads-runs-create-stream-plain-41927b",
        lambda runs: runs.create(thread_id=THREAD, assistant_id="asst_1", stream=True),
    )
    assert events[-1].event in ("done", "thread.run.completed")
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    assert span.name == "invoke_agent"
    assert told["gen_ai.agent.id"] == "asst_1"
    assert told["gen_ai.conversation.id"] == THREAD
    assert told["gen_ai.response.id"] == "run_PS0ksndVoX7DxtmdXn66ZMXU"
    assert told["gen_ai.response.model"] == "gpt-4o-mini"
    assert told["llmtrace.response.finish_reasons_raw"] == ("completed",)
    assert (told["gen_ai.usage.input_tokens"], told["gen_ai.usage.output_tokens"]) == (381, 88)
    assert told["llmtrace.stream.end"] == "exhausted"
    assert told["llmtrace.api"] == "openai.beta.threads.runs.create"


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_run_that_waits(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """A run that is only queued has no usage and no finish reason yet, and says that the usage is missing."""
    await ask(
        replay,
        colour,
        "openai-threads-runs-create-sync-plain-7c13a7",
        lambda runs: runs.create(thread_id="thread_9rcovf4j8qkEvmSitOOaYLno", assistant_id="asst_1"),
    )
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    assert told["llmtrace.usage.source"] == "missing"
    assert "gen_ai.response.finish_reasons" not in told
    assert "gen_ai.usage.input_tokens" not in told


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_run_asked_for_again(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """Polling a run fetches a response: its status is said, and no token is counted."""
    await ask(
        replay,
        colour,
        "openai-threads-runs-retrieve-sync-plain-004a75",
        lambda runs: runs.retrieve("run_UkYZN1UZ6yU7ymU797nOyvAP", thread_id="thread_aRW4ZrIuBnOEnfI30Lw039m5"),
    )
    (span,) = spans.get_finished_spans()
    told = dict(span.attributes or {})
    assert told["gen_ai.operation.name"] == "fetch_response"
    assert told["gen_ai.response.status"] == "in_progress"
    assert told["gen_ai.response.id"] == "run_UkYZN1UZ6yU7ymU797nOyvAP"
    assert not [name for name in told if name.startswith("gen_ai.usage.")]
