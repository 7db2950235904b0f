"""The Claude Agent SDK: one span per query, with the cost that the process states."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import llmtrace

sdk = pytest.importorskip("claude_agent_sdk")

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of the first releases

USAGE = {
    "input_tokens": 100,
    "cache_creation_input_tokens": 40,
    "cache_read_input_tokens": 60,
    "output_tokens": 20,
    "server_tool_use": {"web_search_requests": 0},
    "service_tier": "standard",
}
END = object()
"""In place of a message: the process exits."""


def message(text: str = "Hello", **more: Any) -> dict[str, Any]:
    content = [{"type": "text", "text": text}]
    inner = {"id": "msg_1", "role": "assistant", "model": "claude-sonnet-4-5", "content": content}
    return {"type": "assistant", "message": inner, "parent_tool_use_id": None, "session_id": "s1", **more}


def result(total: float | None, **more: Any) -> dict[str, Any]:
    return {
        "type": "result",
        "subtype": "success",
        "duration_ms": 5,
        "duration_api_ms": 4,
        "is_error": False,
        "num_turns": 1,
        "session_id": "s1",
        "stop_reason": "end_turn",
        "total_cost_usd": total,
        "usage": USAGE,
        "result": "Hello",
        **more,
    }


class Process(sdk.Transport):
    """Transport that speaks the protocol of the process, with an answer to each prompt."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)
        self.written: list[Any] = []
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    async def connect(self) -> None: ...

    async def write(self, data: str) -> None:
        sent = json.loads(data)
        if sent["type"] == "control_request":
            response = {"subtype": "success", "request_id": sent["request_id"], "response": {}}
            self.messages.put_nowait({"type": "control_response", "response": response})
        elif sent["type"] == "user":
            self.written.append(sent)
            for each in self.answers.pop(0):
                self.messages.put_nowait(each)

    async def read_messages(self) -> AsyncIterator[Any]:
        while (each := await self.messages.get()) is not END:
            yield each

    async def close(self) -> None:
        self.closed = True
        self.messages.put_nowait(END)

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None: ...


def options(**more: Any) -> Any:
    return sdk.ClaudeAgentOptions(model="claude-sonnet-4-5", **more)


def client_of(process: Process, **more: Any) -> Any:
    return sdk.ClaudeSDKClient(options(**more), transport=process)


async def prompts() -> AsyncIterator[Any]:
    yield {"type": "user", "message": {"role": "user", "content": "hi"}, "parent_tool_use_id": None, "session_id": "s1"}


async def attributes(spans: InMemorySpanExporter) -> list[dict[str, Any]]:
    assert llmtrace.flush()
    return [dict(span.attributes or {}) for span in spans.get_finished_spans()]


async def test_query_is_one_span_with_the_stated_cost(spans: InMemorySpanExporter) -> None:
    """A query is a span of an agent with tokens, the cost that the process states, and the tags around it."""
    process = Process([message(), result(0.0125), END])
    with llmtrace.tag(feature="review"):
        found = [
            type(each).__name__ async for each in sdk.query(prompt=prompts(), options=options(), transport=process)
        ]
    assert found == ["AssistantMessage", "ResultMessage"]
    (span,) = await attributes(spans)
    assert spans.get_finished_spans()[0].name == "invoke_agent"
    assert (span["gen_ai.operation.name"], span["gen_ai.provider.name"]) == ("invoke_agent", "anthropic")
    assert (span["llm.cost.total"], span["llmtrace.cost.source"]) == (0.0125, "provider")
    assert (span["gen_ai.usage.input_tokens"], span["gen_ai.usage.output_tokens"]) == (200, 20)
    assert span["gen_ai.usage.cache_read.input_tokens"] == 60
    assert (span["gen_ai.conversation.id"], span["gen_ai.response.model"]) == ("s1", "claude-sonnet-4-5")
    assert (span["llmtrace.feature"], span["llmtrace.stream.end"]) == ("review", "exhausted")
    assert span["llmtrace.stream.time_to_first_token"] > 0
    assert process.closed


async def test_queries_of_one_client_share_the_stated_total(spans: InMemorySpanExporter) -> None:
    """The process states the sum of all queries so far: each span has what was added."""
    process = Process([message(), result(0.01)], [message(), result(0.035)])
    async with client_of(process) as client:
        for feature in ("a", "b"):
            with llmtrace.tag(feature=feature):
                await client.query("hi")
            assert [type(each).__name__ async for each in client.receive_response()][-1] == "ResultMessage"
    found = await attributes(spans)
    assert [(span["llmtrace.feature"], span["llmtrace.cost.exact"]) for span in found] == [
        ("a", "0.01"),
        ("b", "0.025"),
    ]


async def test_resumed_session_states_no_exact_cost(spans: InMemorySpanExporter) -> None:
    """The total of a resumed session may contain earlier processes: the cost is estimated from the tokens."""
    process = Process([message(), result(5.0), END])
    async for _ in sdk.query(prompt=prompts(), options=options(resume="s1"), transport=process):
        pass
    (span,) = await attributes(spans)
    assert span.get("llm.cost.total", 0) < 0.01
    assert span.get("llmtrace.cost.approximate", True) is True


async def test_failed_query_is_an_error_with_its_cost(spans: InMemorySpanExporter) -> None:
    """A query that stops at a limit is an error, and its cost is kept."""
    process = Process([message(), result(0.02, subtype="error_max_turns", is_error=True), END])
    async for _ in sdk.query(prompt=prompts(), options=options(), transport=process):
        pass
    (span,) = await attributes(spans)
    assert (span["error.type"], span["llm.cost.total"]) == ("error_max_turns", 0.02)


@pytest.mark.skipif(sdk.__version__.startswith("0.1."), reason="its queries cannot be closed early")
async def test_query_that_is_closed_early_ends_its_span_once(spans: InMemorySpanExporter) -> None:
    """A query that is closed before its result ends its span without a cost."""
    messages = sdk.query(prompt=prompts(), options=options(), transport=Process([message()]))
    await anext(messages)
    await messages.aclose()
    for _ in range(5):
        await asyncio.sleep(0)
    (span,) = await attributes(spans)
    assert (span["llmtrace.stream.end"], "llm.cost.total" in span) == ("closed", False)


async def test_client_that_disconnects_early_ends_its_span_once(spans: InMemorySpanExporter) -> None:
    """A client that disconnects before the result ends the span of its query without a cost."""
    async with client_of(Process([message()])) as client:
        await client.query("hi")
        await anext(client.receive_messages())
    (span,) = await attributes(spans)
    assert (span["llmtrace.stream.end"], "llm.cost.total" in span) == ("closed", False)


async def test_exceeded_budget_stops_the_query(spans: InMemorySpanExporter) -> None:
    """A blocking budget raises before the prompt reaches the process."""
    llmtrace.budget("claude", usd="0.001", per="total", action="block", match={"tag": "claude"})
    process = Process([message(), result(0.01), END])
    async with client_of(process) as client:
        with llmtrace.tag(tags=("claude",)):
            await client.query("hi")
            assert [each async for each in client.receive_response()]
            assert llmtrace.flush()
            with pytest.raises(llmtrace.BudgetExceeded):
                await client.query("hi")
            with pytest.raises(llmtrace.BudgetExceeded):
                await anext(sdk.query(prompt=prompts(), options=options(), transport=Process()))
    assert len(process.written) == 1
    assert [span["llmtrace.outcome"] for span in await attributes(spans)] == ["ok", "blocked", "blocked"]


async def test_content_is_recorded_on_request(content_spans: InMemorySpanExporter) -> None:
    """With content on, the span has the prompt and what the agent wrote."""
    async with client_of(Process([message(), result(0.01)]), system_prompt="Be brief.") as client:
        await client.query("hi")
        assert [each async for each in client.receive_response()]
    (span,) = await attributes(content_spans)
    assert json.loads(span["gen_ai.input.messages"])[0]["parts"] == [{"type": "text", "content": "hi"}]
    assert json.loads(span["gen_ai.output.messages"])[0]["parts"] == [{"type": "text", "content": "Hello"}]
    assert "Be brief." in span["gen_ai.system_instructions"]


def tool_use(identifier: str, name: str, **more: Any) -> dict[str, Any]:
    use = {"type": "tool_use", "id": identifier, "name": name, "input": {"pattern": "*.py"}}
    return message(**more) | {"message": {**message()["message"], "content": [use]}}


def tool_result(identifier: str, *, failed: bool = False, **more: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": identifier, "content": "a.py", "is_error": failed}
    return {"type": "user", "message": {"role": "user", "content": [block]}, "session_id": "s1", **more}


@pytest.mark.parametrize("through", ["query", "client"])
async def test_tools_of_a_query_are_spans_below_it(content_spans: InMemorySpanExporter, through: str) -> None:
    """Each tool is a span below that of the query, a tool of a subagent below that of the subagent's tool."""
    answers = [
        tool_use("t1", "Task"),
        tool_use("t2", "Glob", parent_tool_use_id="t1"),
        tool_result("t2", failed=True, parent_tool_use_id="t1"),
        tool_result("t1"),
        message(),
        result(0.01),
    ]
    if through == "query":
        process = Process([*answers, END])
        async for _ in sdk.query(prompt=prompts(), options=options(), transport=process):
            pass
    else:
        async with client_of(Process(answers)) as client:
            await client.query("hi")
            assert [each async for each in client.receive_response()]
    assert llmtrace.flush()
    by_name = {span.name: span for span in content_spans.get_finished_spans()}
    query, task, glob = by_name["invoke_agent"], by_name["execute_tool Task"], by_name["execute_tool Glob"]
    assert (task.parent.span_id, glob.parent.span_id) == (query.context.span_id, task.context.span_id)
    assert (task.attributes["gen_ai.tool.call.id"], "error.type" in task.attributes) == ("t1", False)
    assert json.loads(task.attributes["gen_ai.tool.call.arguments"]) == {"pattern": "*.py"}
    assert "a.py" in task.attributes["gen_ai.tool.call.result"]
    assert glob.status.status_code is StatusCode.ERROR
    assert query.attributes["llm.cost.total"] == 0.01


async def test_tool_in_progress_ends_with_the_query(spans: InMemorySpanExporter) -> None:
    """A client that disconnects while a tool runs ends the spans of both."""
    async with client_of(Process([tool_use("t1", "Bash")])) as client:
        await client.query("hi")
        await anext(client.receive_messages())
    await asyncio.sleep(0)
    gc.collect()
    assert llmtrace.flush()
    names = sorted(span.name for span in spans.get_finished_spans())
    assert names == ["execute_tool Bash", "invoke_agent"]
    assert all("gen_ai.tool.call.arguments" not in (span.attributes or {}) for span in spans.get_finished_spans())


async def test_suppressed_query_has_no_spans_of_tools(spans: InMemorySpanExporter) -> None:
    """A query whose span the program suppresses has no spans of its tools either."""
    token = attach(set_value("suppress_instrumentation", True))
    try:
        async with client_of(Process([tool_use("t1", "Bash"), tool_result("t1"), result(0.01)])) as client:
            await client.query("hi")
            assert [each async for each in client.receive_response()]
    finally:
        detach(token)
    assert await attributes(spans) == []
