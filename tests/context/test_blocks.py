"""Blocks of every kind: their context holds inside them, and nothing of it outside."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import logging
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace import _errors, current, rerank, retrieval, tag, tool
from llmtrace.context.blocks import Activation, Block, CallArguments
from llmtrace.model import CallContext


class Plan(StrEnum):
    PRO = "pro"


@tag(feature="plain", user="u")
def plain(x: int) -> tuple[str | None, int]:
    """Return where it runs."""
    return current().feature, x


@tag(feature="coroutine")
async def coroutine() -> str | None:
    await asyncio.sleep(0)
    return current().feature


@tag(feature="generator")
def generator() -> Iterator[Any]:
    got = yield current().feature
    try:
        yield got, current().feature
    except KeyError:
        yield "thrown", current().feature


@tag(feature="async generator")
async def async_generator() -> AsyncIterator[Any]:
    got = yield current().feature
    await asyncio.sleep(0)
    try:
        yield got, current().feature
    except KeyError:
        yield "thrown", current().feature


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


@pytest.mark.parametrize(
    ("tags", "kept", "message"),
    [
        ({"user": 42}, {"user": "42"}, ""),
        ({"user": UUID(int=1)}, {"user": str(UUID(int=1))}, ""),
        ({"user": Plan.PRO, "plan": Plan.PRO}, {"user": "pro", "metadata": {"plan": "pro"}}, ""),
        ({"user": ["x"]}, {}, "user must be text"),
        ({"user": True}, {}, "not bool"),
        ({"user": 10**5000, "session": "s"}, {"session": "s"}, "user is a number with too many digits"),
        ({"feature": "x" * 300}, {"feature": "x" * 256}, "longer than 256"),
        ({"session": "a\ud800"}, {"session": "a?"}, ""),
        ({"feature": ""}, {}, ""),
        ({"tags": "one"}, {"tags": ("one",)}, ""),
        ({"tags": 5}, {"tags": ("5",)}, ""),
        ({"tags": b"x"}, {}, "not bytes"),
        ({"tags": ["a", None, "", "a", 7]}, {"tags": ("a", "7")}, ""),
        ({"tags": range(100)}, {"tags": tuple(map(str, range(64)))}, "at most 64 values"),
        ({f"k{n}": n for n in range(65)}, {"metadata": {f"k{n}": n for n in range(64)}}, "at most 64 keys"),
        ({"x" * 257: 1, "": 2, "k": 3}, {"metadata": {"k": 3}}, "longer than 256"),
        ({"k": None, "no": False, "n": 2, "x": 0.5}, {"metadata": {"no": False, "n": 2, "x": 0.5}}, ""),
        ({"k": UUID(int=1)}, {"metadata": {"k": str(UUID(int=1))}}, ""),
        ({"k": "x" * 5000}, {"metadata": {"k": "x" * 4096}}, "longer than 4096"),
        ({"k": 2**63}, {}, "does not fit 64 bits"),
        ({"k": float("inf")}, {}, "not a finite number"),
        ({"k": []}, {}, "not list"),
        ({"capture_content": "maybe"}, {"capture_content": "no_content"}, "no content is recorded"),
    ],
)
def test_invalid_tags_are_dropped_with_a_warning(
    tags: dict[str, Any], kept: dict[str, Any], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A value of a wrong type or length is dropped or cut, with a warning that states the reason and no exception."""
    with tag(**tags):
        assert current() == replace(CallContext(), **kept)
    assert [message in record.message for record in caplog.records] == [True] * bool(message)


def test_repeated_invalid_value_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """One warning names the value and the accepted types, however often the value is passed."""
    with caplog.at_level(logging.WARNING, "llmtrace"):
        for _ in range(3):
            with tag(user=object(), big=2**70, nan=float("nan")):  # type: ignore[arg-type]
                assert current().metadata == {}
    messages = [record.message for record in caplog.records]
    assert len(messages) == 3
    assert "user must be text" in messages[0]


def test_number_of_warnings_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """A program that creates new keys, each with a wrong value, fills neither the memory nor the log."""
    for number in range(1200):
        tag(**{f"k{number}": object()})
    assert len(caplog.records) < 1100


def test_key_with_a_lone_surrogate_is_exported() -> None:
    """A lone surrogate in a key, as in a value, does not lose the batch that the span is exported with."""
    with tag(**{"k\ud800": "v\ud800"}):
        assert current().metadata == {"k?": "v?"}


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


class _Hostile:
    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("hostile")


@pytest.mark.faulty
def test_tags_that_raise_are_dropped() -> None:
    """Tags that fail while they are read do not reach the caller, and the content mode still holds."""
    with tag(feature="f", tags=_Hostile(), capture_content=False, k=1):
        assert current() == replace(CallContext(), feature="f", capture_content="no_content", metadata={"k": 1})


class Plain(Block[None]):
    """A block that adds no context."""

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        return activation.outer


def run_in_every_kind(block: Callable[[], Any], error: Exception | None = None) -> list[Any]:
    """Run one body under ``block`` in functions of each kind; each returns 1, or raises ``error``."""

    def body() -> int:
        if error is not None:
            raise error
        return 1

    @block()
    def plain() -> int:
        return body()

    @block()
    async def coroutine() -> int:
        return body()

    @block()
    def generator() -> Iterator[int]:
        yield body()

    @block()
    async def async_generator() -> AsyncIterator[int]:
        yield body()

    def in_with_block() -> int:
        with block():
            return body()

    async def asynchronous() -> int:
        async with block():
            return body()

    async def items() -> int:
        (item,) = [item async for item in async_generator()]
        return item

    ways: list[Callable[[], Any]] = [
        plain, lambda: asyncio.run(coroutine()), lambda: next(iter(list(generator()))), lambda: asyncio.run(items()),
        in_with_block, lambda: asyncio.run(asynchronous()),
    ]  # fmt: skip
    found: list[Any] = []
    for way in ways:
        try:
            found.append(way())
        except Exception as raised:
            found.append(raised)
    return found


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


@settings(max_examples=80, deadline=None)
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
    from dataclasses import fields, replace

    from llmtrace.context.tags import tag as make_tag

    values: dict[str, Any] = {field.name: f"value of {field.name}" for field in fields(current())}
    outer = replace(current(), **{**values, "tags": ("t",), "metadata": {"k": 1}})
    block: Any = make_tag(user="u")
    assert block._merge_into(outer) == replace(outer, user="u")
