"""Runs of OpenAI assistants, made through the real client."""

from __future__ import annotations

import inspect
import json
from typing import Any

import openai
import pytest
from helpers import check_shapes, flushed_attributes
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace.providers.openai.assistants import RUN

pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")

THREAD = "thread_1HjgF1qM3kuRK2aviYYaLlxF"


async def ask(replay: Any, colour: str, cassette: str, call: Any) -> Any:
    kind = openai.OpenAI if colour == "sync" else openai.AsyncOpenAI
    client = kind(base_url=f"{replay.url}/v1", api_key="x", max_retries=0, default_headers={"x-cassette-id": cassette})
    found = await resolve(call(client.beta.threads.runs))
    if hasattr(found, "__aiter__"):
        found = [event async for event in found]
    elif hasattr(found, "_iterator"):
        found = list(found)
    await resolve(client.close())
    return found


async def resolve(value: Any) -> Any:
    """Return ``value``, awaited if it is awaitable."""
    return await value if inspect.isawaitable(value) else value


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_streamed_run_is_one_agent_span(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """A streamed run is one agent span with the thread, the assistant and the usage."""
    events = await ask(
        replay,
        colour,
        "openai-threads-runs-create-stream-plain-41927b",
        lambda runs: runs.create(thread_id=THREAD, assistant_id="asst_1", stream=True),
    )
    assert events[-1].event in ("done", "thread.run.completed")
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert span.name == "invoke_agent"
    assert reported["gen_ai.agent.id"] == "asst_1"
    assert reported["gen_ai.conversation.id"] == THREAD
    assert reported["gen_ai.response.id"] == "run_PS0ksndVoX7DxtmdXn66ZMXU"
    assert reported["gen_ai.response.model"] == "gpt-4o-mini"
    assert reported["llmtrace.response.finish_reasons_raw"] == ("completed",)
    assert (reported["gen_ai.usage.input_tokens"], reported["gen_ai.usage.output_tokens"]) == (381, 88)
    assert reported["llmtrace.stream.end"] == "exhausted"
    assert reported["llmtrace.api"] == "openai.beta.threads.runs.create"


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_queued_run_has_no_usage(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """A queued run has no usage and no finish reason, and is marked as missing usage."""
    await ask(
        replay,
        colour,
        "openai-threads-runs-create-sync-plain-7c13a7",
        lambda runs: runs.create(thread_id="thread_9rcovf4j8qkEvmSitOOaYLno", assistant_id="asst_1"),
    )
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert reported["llmtrace.usage.source"] == "missing"
    assert "gen_ai.response.finish_reasons" not in reported
    assert "gen_ai.usage.input_tokens" not in reported


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_polled_run_counts_no_tokens(replay: Any, spans: InMemorySpanExporter, colour: str) -> None:
    """Polling a run fetches a response: its status is recorded, and no token is counted."""
    await ask(
        replay,
        colour,
        "openai-threads-runs-retrieve-sync-plain-004a75",
        lambda runs: runs.retrieve("run_UkYZN1UZ6yU7ymU797nOyvAP", thread_id="thread_aRW4ZrIuBnOEnfI30Lw039m5"),
    )
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert reported["gen_ai.operation.name"] == "fetch_response"
    assert reported["gen_ai.response.status"] == "in_progress"
    assert reported["gen_ai.response.id"] == "run_UkYZN1UZ6yU7ymU797nOyvAP"
    assert not [name for name in reported if name.startswith("gen_ai.usage.")]


CODE = "solution = sp.solve(equation, x)"


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_streamed_run_records_content(replay: Any, content_spans: InMemorySpanExporter, colour: str) -> None:
    """With content on, instructions, executed code and the message are on the span."""
    await ask(
        replay,
        colour,
        "openai-threads-runs-create-stream-plain-41927b",
        lambda runs: runs.create(thread_id=THREAD, assistant_id="asst_1", instructions="Be kind.", stream=True),
    )
    reported = flushed_attributes(content_spans)
    check_shapes(reported)
    assert json.loads(reported["gen_ai.system_instructions"]) == [{"type": "text", "content": "Be kind."}]
    (message,) = json.loads(reported["gen_ai.output.messages"])
    code, text = message["parts"]
    assert code["name"] == "code_interpreter"
    assert CODE in code["server_tool_call"]["input"]
    assert text == {"type": "text", "content": "The solution to the equation \\(3x + 11 = 14\\) is \\(x = 1\\)."}
    assert message["finish_reason"] == "stop"


def test_run_closed_early_keeps_its_pieces() -> None:
    """The deltas of a message and a tool call are kept if neither was completed."""
    assert RUN.content is not None
    assert RUN.content.accumulator is not None
    accumulator = RUN.content.accumulator()
    for object_, delta in (
        ("thread.run.step", {"step_details": _function(name="find", arguments='{"q"')}),
        ("thread.run.step", {"step_details": _function(arguments=': "x"}')}),
        ("thread.message", {"content": [{"index": 0, "type": "text", "text": {"value": "It "}}]}),
        ("thread.message", {"content": [{"index": 0, "type": "text", "text": {"value": "is"}}]}),
    ):
        accumulator.add({"id": object_, "object": f"{object_}.delta", "delta": delta})
    (message,) = accumulator.messages()
    call = {"type": "tool_call", "name": "find", "arguments": {"q": "x"}, "id": "call_1"}
    assert message["parts"] == [call, {"type": "text", "content": "It is"}]


def _function(**function: str) -> dict[str, Any]:
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    return {"type": "tool_calls", "tool_calls": [call]}


def test_run_request_and_pending_tools_are_read() -> None:
    """Messages, tools and tool results are read; a run that waits for tools names them."""
    assert RUN.content is not None
    picture = {"type": "image_file", "image_file": {"file_id": "file_1"}}
    requested = RUN.content.request(
        {
            "additional_instructions": "Be brief.",
            "thread": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}, picture]}]},
            "additional_messages": [{"role": "user", "content": "more"}],
            "tool_outputs": [{"tool_call_id": "call_1", "output": '{"a": 1}'}],
            "tools": [{"type": "file_search"}, {"type": "function", "function": {"name": "find"}}],
        }
    )
    assert requested.system == [{"type": "text", "content": "Be brief."}]
    assert [message["role"] for message in requested.messages] == ["user", "user", "tool"]
    assert requested.messages[0]["parts"][1] == {"type": "file", "modality": "image", "file_id": "file_1"}
    assert requested.messages[2]["parts"] == [{"type": "tool_call_response", "response": {"a": 1}, "id": "call_1"}]
    assert requested.tools == [{"type": "file_search", "name": "file_search"}, {"type": "function", "name": "find"}]
    waiting = {"required_action": {"submit_tool_outputs": _function(name="find", arguments="{}")}}
    (message,) = RUN.content.response(waiting)
    assert message["parts"] == [{"type": "tool_call", "name": "find", "arguments": {}, "id": "call_1"}]


def test_thread_message_parts_are_read() -> None:
    """Refusals and linked images are parts; unknown types are skipped."""
    assert RUN.content is not None
    parts = [
        {"type": "text", "text": {"value": "hello"}},
        {"type": "refusal", "refusal": "no"},
        {"type": "image_url", "image_url": {"url": "https://p/a.png"}},
        {"type": "image_file", "image_file": {}},
        {"type": "text", "text": None},
        {"type": "novel"},
    ]
    (message,) = RUN.content.request({"additional_messages": [{"role": "assistant", "content": parts}]}).messages
    assert message["parts"] == [
        {"type": "text", "content": "hello"},
        {"type": "text", "content": "no"},
        {"type": "uri", "modality": "image", "uri": "https://p/a.png"},
    ]


def test_streamed_run_records_pending_tools_once() -> None:
    """The pending tools are recorded once, whether the steps contain them or only the run."""
    assert RUN.content is not None
    assert RUN.content.accumulator is not None
    action = {"submit_tool_outputs": _function(name="find", arguments="{}")}
    run = {"object": "thread.run", "status": "requires_action", "required_action": action}
    step = {
        "object": "thread.run.step.delta",
        "id": "s",
        "delta": {"step_details": _function(name="find", arguments="{}")},
    }
    for events in ([run], [step, run]):
        accumulator = RUN.content.accumulator()
        for event in [*events, {"object": "novel"}]:
            accumulator.add(event)
        (message,) = accumulator.messages()
        assert message["parts"] == [{"type": "tool_call", "name": "find", "arguments": {}, "id": "call_1"}]
        assert message["finish_reason"] == "tool_calls"


def test_streamed_run_that_is_cut_or_fails_is_incomplete() -> None:
    """A cut run has its ids and is incomplete; an error event in place of a run is a failure."""
    assert RUN.accumulator is not None
    events = RUN.accumulator()
    events.add({"object": "thread.run", "id": "run_1", "model": "m", "thread_id": "t", "status": "in_progress"})
    found = events.result()
    assert (found.id, found.model, found.conversation_id, found.complete) == ("run_1", "m", "t", False)
    assert (found.finish_reasons, found.usage, found.failed) == ((), None, False)
    for error, reported in (
        ({"code": "rate_limit"}, "rate_limit"),
        ({"type": "server_error"}, "server_error"),
        ({"message": "x"}, "error"),
    ):
        events = RUN.accumulator()
        events.add({"error": error})
        assert (events.result().failed, events.result().error) == (True, reported)
