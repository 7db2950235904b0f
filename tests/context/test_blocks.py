"""Blocks of every kind: their context holds inside them, and nothing of it outside."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import pickle
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import pytest
from decorated import async_generator, coroutine, generator, plain, run_in_every_kind
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace import _errors, current, rerank, retrieval, tag, tool
from llmtrace.context.blocks import Activation, Block, CallArguments


class Methods:
    @tag(feature="method")
    def method(self) -> str | None:
        return current().feature

    @tag(feature="class")
    @classmethod
    def klass(cls) -> str | None:
        return current().feature

    @tag(feature="static")
    @staticmethod
    async def static() -> str | None:
        return current().feature


def test_nested_blocks_merge_and_inner_values_win() -> None:
    """Inner values win, tags add up, free keys merge, and the outer context is restored afterwards."""
    with tag(feature="a", user="u", tags="x", plan="pro", n=1), tag(feature="b", tags=["x", "y"], n=2):
        here = current()
        assert (here.feature, here.user, here.tags) == ("b", "u", ("x", "y"))
        assert here.metadata == {"plan": "pro", "n": 2}
    assert current() == type(here)()


def test_decorated_functions_of_every_kind_run_inside_the_block() -> None:
    """Functions, methods and coroutines run inside; the caller does not."""

    async def asynchronous() -> list[Any]:
        async with tag(user="outer"):
            return [await coroutine(), await Methods.static(), current().feature, current().user]

    assert plain(3) == ("plain", 3)
    assert (Methods().method(), Methods.klass()) == ("method", "class")
    assert asyncio.run(asynchronous()) == ["coroutine", "static", None, "outer"]
    assert current().feature is None


def test_decorated_generator_holds_the_context_only_while_it_runs() -> None:
    """Between two items the caller's own tags are current, and send and throw reach the body."""
    with tag(feature="caller", user="creator"):
        items = generator()
    with tag(feature="reader"):
        assert next(items) == "generator"
        assert current().feature == "reader"
        assert items.send(5) == (5, "generator")
        assert items.throw(KeyError()) == ("thrown", "generator")
        assert current().feature == "reader"
        items.close()
    assert current().feature is None


async def test_decorated_async_generator_holds_the_context_only_while_it_runs() -> None:
    """The same for an asynchronous generator, also when its items are read in different tasks."""
    items: Any = async_generator()
    assert await asyncio.create_task(anext(items)) == "async generator"
    assert current().feature is None
    assert await asyncio.create_task(items.asend(5)) == (5, "async generator")
    assert await items.athrow(KeyError()) == ("thrown", "async generator")
    await items.aclose()
    assert current().feature is None


async def test_generator_runs_with_the_tags_of_its_creation() -> None:
    """Items read after the block has ended are still produced with the tags of that block."""

    @tag(feature="body")
    async def body() -> AsyncIterator[Any]:
        yield current().user

    with tag(user="creator"):
        items = body()
    assert [item async for item in items] == ["creator"]


def test_decorated_function_keeps_its_metadata() -> None:
    """Frameworks see the kind, name, signature and documentation of the function itself; it pickles and copies."""
    assert inspect.isgeneratorfunction(generator)
    assert inspect.isasyncgenfunction(async_generator)
    assert inspect.iscoroutinefunction(coroutine)
    assert (plain.__name__, plain.__doc__) == ("plain", "Return where it runs.")
    assert list(inspect.signature(plain).parameters) == ["x"]
    assert pickle.loads(pickle.dumps(plain)) is plain
    assert copy.deepcopy(plain) is plain is copy.copy(plain)


def test_exception_passes_a_block_unchanged() -> None:
    """The same exception object comes out, with no context added by llmtrace."""
    error = RuntimeError("mine")

    @tag(feature="x")
    def fails() -> None:
        raise error

    with pytest.raises(RuntimeError) as caught, tag(user="u"):
        fails()
    assert caught.value is error
    assert error.__context__ is None
    assert error.__cause__ is None


def test_block_with_a_yield_leaves_the_callers_context_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    """A plain block in an undecorated generator that ends below the caller's block takes nothing from the caller."""

    def leaky() -> Iterator[int]:
        with tag(feature="leaky"):
            yield 1

    before = otel.get_current()
    items = leaky()
    next(items)
    with tag(feature="caller"):
        assert list(items) == []
        assert current().feature == "caller"
    assert otel.get_current() is before
    items = leaky()
    next(items)
    with tag(feature="caller"):
        del items
        gc.collect()
        assert current().feature == "caller"
    assert otel.get_current() is before
    assert not caplog.records


def test_one_block_is_entered_by_many_tasks_at_once() -> None:
    """A block kept in a variable is re-entrant and shared by tasks."""
    shared = tag(feature="shared")

    async def visit(number: int) -> list[Any]:
        with tag(user=str(number)), shared:
            await asyncio.sleep(0)
            with shared:
                await asyncio.sleep(0)
            return [current().feature, current().user]

    async def all_of_them() -> list[Any]:
        return await asyncio.gather(*(visit(number) for number in range(50)))

    assert asyncio.run(all_of_them()) == [["shared", str(number)] for number in range(50)]


class Callee:
    async def __call__(self) -> str | None:
        await asyncio.sleep(0)
        return current().feature


async def test_callable_object_has_the_kind_of_its_call_method() -> None:
    """The tags hold while the body of an asynchronous ``__call__`` runs, not only while the coroutine is created."""
    assert await tag(feature="object")(Callee())() == "object"
    assert current().feature is None


def test_property_is_decorated_below_property() -> None:
    """A property cannot be decorated, its function can."""
    with pytest.raises(TypeError, match="an object of type property"):
        tag(feature="above")(property(lambda self: None))  # type: ignore[type-var]

    class Page:
        @property
        @tag(feature="below")
        def below(self) -> str | None:
            return current().feature

    assert Page().below == "below"


def broken(*_: object) -> Any:
    raise RuntimeError("ours")


class Plain(Block[None]):
    """A block that adds no context."""

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        return activation.outer


def test_exception_ends_a_block_of_any_kind(spans: InMemorySpanExporter) -> None:
    """The same exception comes out, and the span names its class."""
    error = ValueError("mine")
    assert run_in_every_kind(lambda: tool("t"), error) == [error] * 6
    attributes = [span.attributes for span in spans.get_finished_spans()]
    assert [each["error.type"] for each in attributes if each is not None] == ["ValueError"] * 6


@pytest.mark.faulty
@pytest.mark.parametrize("fails", ["_enter", "_leave", "_returned"])
@pytest.mark.parametrize("error", [None, ValueError("mine")])
def test_internal_error_does_not_reach_the_program(
    monkeypatch: pytest.MonkeyPatch, fails: str, error: Exception | None
) -> None:
    """If a part of a block fails, the program inside runs as without it, and the error is counted."""
    monkeypatch.setattr(Plain, fails, broken)
    before = otel.get_current()
    assert run_in_every_kind(Plain, error) == [error or 1] * 6
    assert otel.get_current() is before
    if not (fails == "_returned" and error):
        assert _errors.internal_errors


@pytest.mark.faulty
def test_search_that_could_not_begin_accepts_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program's own lines in the block run without an error."""
    for block in (retrieval("i"), rerank("m")):
        monkeypatch.setattr(type(block), "_enter", broken)
        with block as search:
            search.add(["a"])
            search.query("q")
            getattr(search, "set_input_documents", search.add)(["b"])
    assert _errors.internal_errors


# A program: calls, waits and tasks in nested blocks.
_programs = st.recursive(
    st.sampled_from(["call", "wait"]),
    lambda inner: st.tuples(st.sampled_from(["tag", "task", "decorated", "stream"]), st.integers(0, 5),
                            st.lists(inner, max_size=4)),
    max_leaves=20,
)  # fmt: skip


class Walk:
    """Interpreter of a program that records at each call its tags and those of its path."""

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, ...], tuple[str, ...]]] = []

    def call(self, path: tuple[str, ...]) -> None:
        self.seen.append((current().tags, tuple(dict.fromkeys(path))))

    async def step(self, step: Any, path: tuple[str, ...]) -> None:
        if step == "call":
            self.call(path)
        elif step == "wait":
            await asyncio.sleep(0)
        else:
            kind, number, steps = step
            await getattr(self, kind)(tag(tags=f"t{number}"), (*path, f"t{number}"), steps)

    async def steps(self, steps: list[Any], path: tuple[str, ...]) -> None:
        for one in steps:
            await self.step(one, path)

    async def tag(self, block: Any, path: tuple[str, ...], steps: list[Any]) -> None:
        with block:
            await self.steps(steps, path)

    async def decorated(self, block: Any, path: tuple[str, ...], steps: list[Any]) -> None:
        await block(self.steps)(steps, path)

    async def task(self, block: Any, path: tuple[str, ...], steps: list[Any]) -> None:
        await asyncio.gather(*(self.step(one, path[:-1]) for one in steps))

    async def stream(self, block: Any, path: tuple[str, ...], steps: list[Any]) -> None:
        @block
        async def items() -> AsyncIterator[None]:
            for one in steps:
                await self.step(one, path)
                yield

        async for _ in items():
            self.call(path[:-1])
            await asyncio.sleep(0)


@settings(max_examples=80)
@given(st.lists(_programs, min_size=1, max_size=5))
def test_interleaved_blocks_give_each_call_the_tags_of_its_own_path(programs: list[Any]) -> None:
    """However blocks, tasks and generators are nested and interleaved, a call sees exactly its enclosing blocks."""
    walk = Walk()

    async def everything() -> None:
        await asyncio.gather(*(walk.step(program, ()) for program in programs))

    asyncio.run(everything())
    assert all(got == expected for got, expected in walk.seen)


def test_tag_keeps_every_other_field_of_the_context() -> None:
    """A tag changes no field of the outer context but its own."""
    from dataclasses import fields

    from llmtrace.context.tags import tag as make_tag

    values: dict[str, Any] = {field.name: f"value of {field.name}" for field in fields(current())}
    outer = replace(current(), **{**values, "tags": ("t",), "metadata": {"k": 1}})
    block: Any = make_tag(user="u")
    assert block._merge_into(outer) == replace(outer, user="u")
