"""Decorators without parentheses, and objects that cannot be decorated."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from enum import StrEnum
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import agent, prompt, rerank, retrieval, tool, workflow
from llmtrace.telemetry.names import operation_of

Spans = InMemorySpanExporter
RUNS: list[Any] = [tool, agent, workflow]
SEARCHES: list[Any] = [retrieval, rerank]
OPERATIONS = {tool: "execute_tool", agent: "invoke_agent", workflow: "invoke_workflow", retrieval: "retrieval"}


def bare(decorator: Any) -> Any:
    return decorator


def called(decorator: Any) -> Any:
    return decorator()


def names(spans: Spans) -> list[str]:
    found = [span.name for span in spans.get_finished_spans()]
    spans.clear()
    return found


@pytest.mark.parametrize("write", [bare, called])
@pytest.mark.parametrize("decorator", RUNS)
def test_functions_of_every_kind_run_and_name_their_span(spans: Spans, decorator: Any, write: Any) -> None:
    """``@tool`` and ``@tool()`` keep the function, its result and its kind, and take its name."""
    decorate, operation = write(decorator), OPERATIONS[decorator]

    @decorate
    def double(x: int) -> int:
        """Doubles."""
        return 2 * x

    @decorate
    async def later(x: int) -> int:
        return 2 * x

    @decorate
    def items(x: int) -> Iterator[int]:
        yield x
        yield 2 * x

    @decorate
    async def items_later(x: int) -> AsyncIterator[int]:
        yield x
        yield 2 * x

    async def take() -> list[int]:
        return [item async for item in items_later(21)]

    assert double(21) == 42
    assert (double.__name__, double.__doc__) == ("double", "Doubles.")
    assert asyncio.run(later(21)) == 42
    assert inspect.iscoroutinefunction(later)
    assert list(items(21)) == [21, 42]
    assert asyncio.run(take()) == [21, 42]
    assert names(spans) == [f"{operation} {name}" for name in ("double", "later", "items", "items_later")]


@pytest.mark.parametrize("write", [bare, called])
@pytest.mark.parametrize("decorator", RUNS)
def test_methods_of_every_kind_run_and_name_their_span(spans: Spans, decorator: Any, write: Any) -> None:
    """Methods, class methods and static methods, above and below their own decorator."""
    decorate, operation = write(decorator), OPERATIONS[decorator]

    class Thing:
        factor = 2

        @decorate
        def method(self, x: int) -> int:
            return self.factor * x

        @classmethod
        @decorate
        def below(cls, x: int) -> int:
            return cls.factor * x

        @decorate
        @classmethod
        def above(cls, x: int) -> int:
            return cls.factor * x

        @staticmethod
        @decorate
        def static_below(x: int) -> int:
            return 2 * x

        @decorate
        @staticmethod
        def static_above(x: int) -> int:
            return 2 * x

    wanted = ["method", "below", "above", "static_below", "static_above"]
    assert [getattr(Thing(), name)(21) for name in wanted] == [42] * 5
    assert vars(Thing)["method"](Thing(), 21) == 42
    assert names(spans) == [f"{operation} {name}" for name in [*wanted, "method"]]


def test_callable_objects_are_named_after_their_function_or_type(spans: Spans) -> None:
    """A partial has the name of its function, an object the name of its type."""

    class Doubler:
        def __call__(self, x: int) -> int:
            return 2 * x

    def double(x: int, by: int) -> int:
        return by * x

    assert tool(functools.partial(double, by=2))(21) == 42
    assert tool(Doubler())(21) == 42
    assert names(spans) == ["execute_tool double", "execute_tool Doubler"]


def test_one_unnamed_block_decorates_many_functions(spans: Spans) -> None:
    """Each span has the name of its own function."""
    block = tool()
    first, second = (block(function) for function in (lambda: 1, max))
    assert (first(), second(1, 2)) == (1, 2)
    assert names(spans) == ["execute_tool <lambda>", "execute_tool max"]
    with block, agent():
        pass
    assert names(spans) == ["invoke_agent unnamed", "execute_tool unnamed"]


@pytest.mark.parametrize("write", [bare, called])
@pytest.mark.parametrize("decorator", SEARCHES)
def test_unnamed_search_records_no_name(spans: Spans, decorator: Any, write: Any) -> None:
    """A bare search records what it returns; the span has neither a data source nor a model."""

    @write(decorator)
    def find(question: str) -> list[dict[str, Any]]:
        return [{"id": "a", "score": 0.5}]

    assert find("q") == [{"id": "a", "score": 0.5}]
    (span,) = spans.get_finished_spans()
    attributes = dict(span.attributes or {})
    assert span.name == operation_of(attributes) == decorator.__name__
    assert attributes["llmtrace.retrieval.document_ids"] == ("a",)
    assert not {"gen_ai.data_source.id", "gen_ai.request.model", "reranker.model_name"} & attributes.keys()


class Some:
    """A class, which no decorator takes."""


DECORATORS: list[Callable[[Any], Any]] = [
    tool, agent, workflow, retrieval, rerank, prompt, tool("t"), tool(), agent("a"), workflow("w"), retrieval("r"),
    retrieval(), rerank("m"), prompt("p"), llmtrace.tag(feature="f"), llmtrace.collect(),
]  # fmt: skip


@pytest.mark.parametrize("decorate", DECORATORS, ids=lambda each: getattr(each, "__name__", type(each).__name__))
def test_decorated_class_raises_type_error(decorate: Any) -> None:
    """A class cannot be decorated, because the result would not be a class."""
    with pytest.raises(TypeError, match="the class Some"):
        decorate(Some)


def test_bare_prompt_decorator_raises_type_error() -> None:
    """A prompt has no default name."""
    with pytest.raises(TypeError, match=r"llmtrace\.prompt: expected a name as text, got an object of type function"):

        @prompt  # type: ignore[arg-type]
        def ask() -> None: ...


@pytest.mark.parametrize("name", [5, 1.5, b"bytes", ["a"], object(), True])
@pytest.mark.parametrize("decorator", [*RUNS, *SEARCHES, prompt])
def test_name_that_is_not_text_raises_type_error(decorator: Any, name: object) -> None:
    """A wrong name is a mistake in the program, which is reported where it is made."""
    with pytest.raises(TypeError, match="expected a name as text"):
        decorator(name)


def test_name_of_an_enumeration_is_text(spans: Spans) -> None:
    """A member of a ``StrEnum`` is text."""

    class Name(StrEnum):
        SEARCH = "search"

    with tool(Name.SEARCH):
        pass
    assert names(spans) == ["execute_tool search"]
