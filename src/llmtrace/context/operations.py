"""Blocks that are spans: tools, agents and workflows."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any, Self, overload

from opentelemetry.context import Context

from .._errors import log_internal_error
from ..model import CallContext
from . import operation as works
from . import state as contexts
from .blocks import Activation, Block, CallArguments, F, T_co, check_name, is_function, run_coroutine, run_plain
from .collect import Calls
from .operation import Operation
from .validation import clean_label

__all__ = ["CalledTool", "OperationBlock", "OperationHandle", "agent", "note_content", "tool", "workflow"]


_COMPOSED = ("agent", "workflow")
"""Kinds of work that are made of calls."""


class OperationBlock(Block[T_co]):
    """A block with a span of its own, for as long as somebody makes spans."""

    _kind: str
    _unnamed: str | None = "unnamed"
    """The name where none is known."""

    def __init__(self, name: object) -> None:
        super().__init__()
        self._name = clean_label(f"the name of a {self._kind}", name) or self._unnamed

    @classmethod
    def made(cls, name: object, *arguments: Any) -> Any:
        """Return a block, or the decorated function where the decorator is written without parentheses."""
        if is_function(name):
            return cls(None, *arguments)(name)  # type: ignore[type-var] # looks like the function
        if name is not None:
            check_name(cls._kind, name)
        return cls(name, *arguments)

    def _describe(self, work: Operation, function: CallArguments | None) -> None:
        """Put into ``work`` what is known before it begins."""

    def _enter(self, frame: Activation, function: CallArguments | None) -> Context:
        maker = works.get_emitter()
        work = Operation(self._kind, self._name, frame.scope)
        frame.work = work, maker
        if maker is None:
            self._extend_context(frame, work, rollup=False)
            return frame.outer
        try:
            self._describe(work, function)
        except Exception:
            log_internal_error("read what a block was given")
        self._extend_context(frame, work, rollup=maker.rollup)
        return maker.begin(work, frame.outer)

    def _extend_context(self, frame: Activation, work: Operation, *, rollup: bool) -> None:
        """Add to the scope of the calls inside."""

    def _leave(self, frame: Activation, error: BaseException | None) -> None:
        work, maker = frame.work
        if maker is not None:
            work.error = error
            maker.end(work)


class OperationHandle:
    """One run of a tool, agent or workflow."""

    __slots__ = ("_work",)

    def __init__(self, work: Operation) -> None:
        self._work = work

    def set_result(self, value: object) -> None:
        """Say what came out. It leaves the program only when content capture is on."""
        self._work.result = value


class _Run(OperationBlock[OperationHandle]):
    def __init__(self, name: object) -> None:
        super().__init__(name)
        self._named = name is not None

    def __call__(self, function: F, /) -> F:
        return Block.__call__(self if self._named else self._named_after(function), function)

    def _named_after(self, function: object) -> Self:
        """Return the same block, for one function and with its name."""
        while isinstance(function, (classmethod, staticmethod, partial)):
            function = function.func if isinstance(function, partial) else function.__func__
        named = copy(self)
        named._frames = []
        named._name = (
            clean_label("the name of a function", getattr(function, "__name__", None)) or type(function).__name__
        )
        return named

    def _value(self, frame: Activation) -> OperationHandle:
        return OperationHandle(
            Operation(self._kind, self._name, CallContext()) if frame.work is None else frame.work[0]
        )

    def _returned(self, frame: Activation, value: Any) -> None:
        work, maker = frame.work
        if maker is not None and maker.reads_content(work.scope) and work.result is None:
            work.result = value


class _Tool(_Run):
    _kind = "tool"

    def __init__(self, name: object, arguments: object) -> None:
        super().__init__(name)
        self._arguments = arguments

    def _leave(self, frame: Activation, error: BaseException | None) -> None:
        super()._leave(frame, error)
        frame.flow = None  # what it found is for all later calls of the block around, now that it has returned

    def _describe(self, work: Operation, function: CallArguments | None) -> None:
        work.arguments = self._arguments
        maker = works.get_emitter()
        if function is not None:
            doc = getattr(function.function, "__doc__", None)
            work.description = doc.strip().partition("\n")[0][:256] if isinstance(doc, str) else None
            if work.arguments is None and maker is not None and maker.reads_content(work.scope):
                work.arguments = function.arguments()


class CalledTool(_Tool):
    """A function of the program's own that an SDK calls because a model asked for it."""

    def __init__(self, name: str, arguments: object, client: str, parent: Context | None = None) -> None:
        """As ``tool``; ``parent`` is the context of the call that the model asked in, where that is another."""
        super().__init__(name, arguments)
        self._client = client
        self._parent = parent

    def _describe(self, work: Operation, function: CallArguments | None) -> None:
        # What is called is the SDK's: its description is not the tool's.
        work.arguments, work.client, work.parent = self._arguments, self._client, self._parent

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        return run_plain(self, function, args, kwargs)

    async def run_async(self, function: Any, args: Any, kwargs: Any) -> Any:
        return await run_coroutine(self, function, args, kwargs)


class _RollupBlock(_Run):
    """A run that can say what the calls inside came to."""

    def __init__(self, name: object, rollup: bool | None) -> None:
        super().__init__(name)
        self._rollup = rollup

    def _describe(self, work: Operation, function: CallArguments | None) -> None:
        maker = works.get_emitter()
        if function is not None and maker is not None and maker.reads_content(work.scope):
            work.arguments = function.arguments()

    def _widen(self, frame: Activation, work: Operation, *, rollup: bool) -> None:
        frame.shelf.shared = True
        if works.get_emitter() is not None and (rollup if self._rollup is None else self._rollup):
            work.calls = Calls()
            frame.scope = replace(frame.scope, collectors=(*frame.scope.collectors, work.calls))


def note_content(context: Context, started: int, requested: Sequence[Any], received: Sequence[Any]) -> None:
    """Give the messages of a call to each agent and workflow around it, which may have none of their own.

    Args:
        context: The context in which the call was made.
        started: When it was made, in nanoseconds.
        requested: The messages of the request.
        received: Those of the response.
    """
    frame = contexts.activation_of(context)
    while frame is not None:
        work = frame.work[0] if isinstance(frame.work, tuple) else None
        if isinstance(work, Operation) and work.kind in _COMPOSED:
            if requested and (work.first_input is None or started < work.first_input[0]):
                work.first_input = started, requested
            if received:
                work.last_output = received
        frame = contexts.activation_of(frame.outer)


class _Agent(_RollupBlock):
    _kind = "agent"

    def _widen(self, frame: Activation, work: Operation, *, rollup: bool) -> None:
        super()._widen(frame, work, rollup=rollup)
        work.agent = self._name
        frame.scope = replace(frame.scope, agent=self._name)


class _Workflow(_RollupBlock):
    _kind = "workflow"


@overload
def tool(name: F, /) -> F: ...


@overload
def tool(name: str | None = None, *, arguments: object = None) -> Block[OperationHandle]: ...


def tool(name: object = None, *, arguments: object = None) -> Any:
    """Record a tool at work as a span ``execute_tool <name>``: context manager and decorator.

    With content capture on, a decorated function's arguments and return value are recorded; in a ``with`` block say
    them yourself: ``with tool("search", arguments={...}) as run: run.result(...)``.

    Args:
        name: The tool's name, as the model knows it. A decorator may leave it out, with or without parentheses, and
            then has the name of the function.
        arguments: What it was called with.

    Raises:
        TypeError: The name is neither text nor a function, or a class is decorated.
    """
    return _Tool.made(name, arguments)


@overload
def agent(name: F, /) -> F: ...


@overload
def agent(name: str | None = None, *, rollup: bool | None = None) -> Block[OperationHandle]: ...


def agent(name: object = None, *, rollup: bool | None = None) -> Any:
    """Record an agent's run as a span ``invoke_agent <name>``: context manager and decorator.

    With content capture on, a decorated function's arguments and return value are recorded, and in a ``with`` block
    the first input and the last output of the calls inside, unless ``run.result(...)`` says otherwise.

    Args:
        name: The agent's name. A decorator may leave it out, as for ``tool``.
        rollup: Whether the span says the tokens and cost of the calls inside, under ``llmtrace.rollup.*``, which no
            backend adds up again. By default as the setting ``rollup`` says.

    Raises:
        TypeError: As for ``tool``.
    """
    return _Agent.made(name, rollup)


@overload
def workflow(name: F, /) -> F: ...


@overload
def workflow(name: str | None = None, *, rollup: bool | None = None) -> Block[OperationHandle]: ...


def workflow(name: object = None, *, rollup: bool | None = None) -> Any:
    """Record a workflow, pipeline or chain as a span ``invoke_workflow <name>``: context manager and decorator.

    Content is recorded as for ``agent``.

    Args:
        name: The workflow's name. A decorator may leave it out, as for ``tool``.
        rollup: As for ``agent``.

    Raises:
        TypeError: As for ``tool``.
    """
    return _Workflow.made(name, rollup)
