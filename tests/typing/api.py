"""Code that must type-check under ``mypy --strict`` and pyright; it never runs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import assert_type

import llmtrace
from llmtrace import Call, Calls, ContextExecutor, Cost, Document, Prompt, Usage


@llmtrace.tag(feature="f", user="u", tags=["a"], plan="pro", seats=3)
def plain(x: int, *, y: str = "") -> bool:
    return bool(x) and bool(y)


@llmtrace.workflow("w", rollup=True)
async def coroutine(x: int) -> str:
    return str(x)


@llmtrace.agent("a")
def generator(x: int) -> Iterator[int]:
    yield x


@llmtrace.prompt("p", version="3", template="t", variables={"a": 1})
async def async_generator(x: int) -> AsyncIterator[int]:
    yield x


@llmtrace.tool
def bare(x: int) -> str:
    return str(x)


@llmtrace.agent
async def bare_coroutine(x: int) -> str:
    return str(x)


@llmtrace.workflow()
def unnamed(x: int) -> Iterator[int]:
    yield x


@llmtrace.retrieval
def bare_search(x: int) -> list[Document]:
    return []


@llmtrace.rerank
def bare_ranking(x: int) -> list[Document]:
    return []


class Thing:
    @llmtrace.tool
    def bare_method(self, x: int) -> float:
        return x / 2

    @llmtrace.tool("t", arguments={"a": 1})
    def method(self, x: int) -> float:
        return x / 2

    @classmethod
    @llmtrace.retrieval("index", query="q", top_k=3)
    def made(cls) -> list[Document]:
        return [Document("a", 0.5, "text", {"k": 1})]


assert_type(plain(1, y="a"), bool)
assert_type(generator(1), Iterator[int])
assert_type(async_generator(1), AsyncIterator[int])
assert_type(Thing().method(1), float)
assert_type(Thing.made(), list[Document])
assert_type(bare(1), str)
assert_type(unnamed(1), Iterator[int])
assert_type(bare_search(1), list[Document])
assert_type(bare_ranking(1), list[Document])
assert_type(Thing().bare_method(1), float)
bare("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
llmtrace.tool(5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
llmtrace.prompt(print)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain("text")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def wrapped(function: Callable[[int], str]) -> None:
    assert_type(llmtrace.wrap(function)(1), str)
    with ContextExecutor(max_workers=2) as pool:
        assert_type(pool.submit(function, 1), Future[str])


def blocks(call: Call) -> None:
    with llmtrace.collect() as calls, llmtrace.tag(session="s", tenant="t"):
        assert_type(calls, Calls)
    assert_type(calls[-1], Call)
    assert_type(calls.cost, Cost)
    assert_type(calls.usage, Usage)
    with llmtrace.agent() as agent_run, llmtrace.tool() as tool_run:
        agent_run.result(1)
        tool_run.result(2)
    with llmtrace.retrieval("index") as search:
        search.add([("a", 0.5), {"id": "b"}, Document("c")])
    with llmtrace.rerank("model") as ranking:
        ranking.set_input_documents(["a"])
        ranking.add(["a"])
    with llmtrace.tool("t") as run:
        run.result({"a": 1})
    prompt = llmtrace.prompts.load("p", label="production")
    assert_type(prompt, Prompt)
    with prompt.use(name="Ada") as messages:
        assert_type(messages, list[dict[str, str]])
    llmtrace.score("s", 0.5, label="l", explanation="e", on=call)
    llmtrace.score("s", 0.5, on=(call.trace_id, call.span_id))


def settings() -> None:
    done = llmtrace.instrument(
        endpoint="http://localhost:4318", service_name="shop", clients=["openai"], prices=[{"model": "m"}],
        budgets=[llmtrace.Budget("b", tokens=1000)], redact=str.upper, metrics="off", store=Path("spans.db"),
        stream_usage="auto", flush_timeout=1, baggage_keys={"tenant"},
    )  # fmt: skip
    assert_type(done, llmtrace.Instrumentation)
    llmtrace.instrument(capture_contents=True)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    llmtrace.instrument(metrics="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    llmtrace.instrument(spool_max_mb="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def asynchronous() -> None:
    async with llmtrace.tag(feature="f"), llmtrace.collect() as calls:
        assert_type(calls, Calls)
    assert_type(await coroutine(1), str)
    assert_type(await bare_coroutine(1), str)
    async for item in async_generator(1):
        assert_type(item, int)
