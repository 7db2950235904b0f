"""Blocks with a span of their own: tools, agents and workflows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any, Self, overload

from opentelemetry.context import Context

from .._errors import log_internal_error
from ..model import CallContext
from . import state
from .blocks import Activation, Block, CallArguments, F, T_co, check_name, is_function, run_coroutine, run_plain
from .collect import Calls
from .operation import Operation, get_emitter
from .validation import clean_label

_COMPOSED = ("agent", "workflow")
"""Kinds of operation that consist of calls."""


class OperationBlock(Block[T_co]):
    """Block with a span of its own, if an emitter is set."""

    _kind: str
    _unnamed: str | None = "unnamed"
    """Name of an operation without a valid name."""
    client: str = "scope"
    """Library that runs the operation, or ``scope`` for the program."""

    def __init__(self, name: object) -> None:
        super().__init__()
        self._name = clean_label(f"the name of a {self._kind}", name) or self._unnamed

    @classmethod
    def create(cls, name: object, *arguments: Any) -> Any:
        """Return a block, or the decorated function where the decorator is written without parentheses."""
        if is_function(name):
            return cls(None, *arguments)(name)  # type: ignore[type-var] # looks like the function
        if name is not None:
            check_name(cls._kind, name)
        return cls(name, *arguments)

    def _describe(self, operation: Operation, function: CallArguments | None) -> None:
        """Set the fields of ``operation`` that its span starts with."""

    def _enter(self, activation: Activation, function: CallArguments | None) -> Context:
        emitter = get_emitter()
        operation = Operation(self._kind, self._name, activation.call_context, self.client)
        activation.payload = operation, emitter
        if emitter is None:
            self._extend_context(activation, operation, rollup=False)
            return activation.outer
        operation.reads_content = emitter.reads_content(operation.call_context)
        try:
            self._describe(operation, function)
        except Exception:
            log_internal_error("read the arguments of a block")
        self._extend_context(activation, operation, rollup=emitter.rollup)
        return emitter.begin(operation, activation.outer)

    def _extend_context(self, activation: Activation, operation: Operation, *, rollup: bool) -> None:
        """Change the context of the calls inside: rollup collectors, agent name, sharing of documents."""

    def _leave(self, activation: Activation, error: BaseException | None) -> None:
        operation, emitter = activation.payload
        if emitter is not None:
            operation.error = error
            emitter.end(operation)


class OperationHandle:
    """One run of a tool, agent or workflow."""

    __slots__ = ("_operation",)

    def __init__(self, operation: Operation) -> None:
        self._operation = operation

    def result(self, value: object) -> None:
        """Set the result of the run. It is recorded only when content capture is on.

        Args:
            value: Text, or anything that can be written as JSON.
        """
        self._operation.result = value


class _Run(OperationBlock[OperationHandle]):
    def __init__(self, name: object) -> None:
        super().__init__(name)
        self._named = name is not None

    def __call__(self, function: F, /) -> F:
        return Block.__call__(self if self._named else self._named_after(function), function)

    def _named_after(self, function: object) -> Self:
        """Return a copy of the block with the name of ``function``."""
        while isinstance(function, (classmethod, staticmethod, partial)):
            function = function.func if isinstance(function, partial) else function.__func__
        named = copy(self)
        named._activations = []
        named._name = (
            clean_label("the name of a function", getattr(function, "__name__", None)) or type(function).__name__
        )
        return named

    def _value(self, activation: Activation) -> OperationHandle:
        return OperationHandle(
            Operation(self._kind, self._name, CallContext()) if activation.payload is None else activation.payload[0]
        )

    def _describe(self, operation: Operation, function: CallArguments | None) -> None:
        if function is not None and operation.arguments is None and operation.reads_content:
            operation.arguments = function.arguments()

    def _returned(self, activation: Activation, value: Any) -> None:
        operation = activation.payload[0]
        if operation.reads_content and operation.result is None:
            operation.result = value


class _Tool(_Run):
    _kind = "tool"

    def __init__(self, name: object, arguments: object, call_id: object = None) -> None:
        super().__init__(name)
        self._arguments = arguments
        self._call_id = clean_label("the call_id of a tool", call_id)

    def _extend_context(self, activation: Activation, operation: Operation, *, rollup: bool) -> None:
        if (agent := agent_of(activation.outer)) is not None:
            next(agent.tool_calls)

    def _leave(self, activation: Activation, error: BaseException | None) -> None:
        super()._leave(activation, error)
        # Drop the path: documents of a tool that has returned are visible to all later calls of the outer block.
        activation.path = None

    def _describe(self, operation: Operation, function: CallArguments | None) -> None:
        operation.arguments, operation.call_id = self._arguments, self._call_id
        if function is not None:
            operation.description = first_line(getattr(function.function, "__doc__", None))
        super()._describe(operation, function)


def first_line(text: object) -> str | None:
    """Return the first line of a description, at most 256 characters of it, or ``None`` if it is not text."""
    return text.strip().partition("\n")[0][:256] if isinstance(text, str) else None


class CalledTool(_Tool):
    """A function of the program that an SDK calls because the model requested it."""

    def __init__(self, name: str, arguments: object, client: str, parent: Context | None = None) -> None:
        """Create the block of one tool call.

        ``parent`` is the context of the call whose response requested the tool, if it is not the current one.
        """
        super().__init__(name, arguments)
        self.client = client
        self._parent = parent

    def _describe(self, operation: Operation, function: CallArguments | None) -> None:
        # Skip the docstring: the function called here is the SDK's, and describes something else.
        operation.arguments, operation.parent = self._arguments, self._parent

    def run(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Call ``function`` inside this block and return its result."""
        return run_plain(self, function, args, kwargs)

    async def run_async(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Call ``function``, a coroutine function, inside this block and return its result."""
        return await run_coroutine(self, function, args, kwargs)


class _RollupBlock(_Run):
    """A run that can record the sum of the calls inside."""

    def __init__(self, name: object, rollup: bool | None) -> None:
        super().__init__(name)
        self._rollup = rollup

    def _extend_context(self, activation: Activation, operation: Operation, *, rollup: bool) -> None:
        activation.documents.shared = True
        if get_emitter() is not None and (rollup if self._rollup is None else self._rollup):
            operation.calls = Calls()
            activation.call_context = replace(
                activation.call_context, collectors=(*activation.call_context.collectors, operation.calls)
            )


def note_content(context: Context, started: int, requested: Sequence[Any], received: Sequence[Any]) -> None:
    """Store the messages of a call, started at a time in nanoseconds, on each enclosing agent and workflow.

    They are its first input and its last output.
    """
    for operation in _enclosing_operations(context, _COMPOSED):
        if requested and (operation.first_input is None or started < operation.first_input[0]):
            operation.first_input = started, requested
        if received:
            operation.last_output = received


def agent_of(context: Context) -> Operation | None:
    """Return the run of the innermost agent that is open in ``context``."""
    return next(_enclosing_operations(context, ("agent",)), None)


def _enclosing_operations(context: Context, kinds: Collection[str]) -> Iterator[Operation]:
    """Yield the open operations of these kinds, innermost first."""
    activation = state.activation_of(context)
    while activation is not None:
        operation = activation.payload[0] if isinstance(activation.payload, tuple) else None
        if isinstance(operation, Operation) and operation.kind in kinds:
            yield operation
        activation = state.activation_of(activation.outer)


class _Agent(_RollupBlock):
    _kind = "agent"

    def _extend_context(self, activation: Activation, operation: Operation, *, rollup: bool) -> None:
        super()._extend_context(activation, operation, rollup=rollup)
        operation.inference_calls, operation.tool_calls = count(), count()
        operation.agent = self._name
        activation.call_context = replace(activation.call_context, agent=self._name)


class _Workflow(_RollupBlock):
    _kind = "workflow"


@overload
def tool(name: F, /) -> F: ...


@overload
def tool(
    name: str | None = None, *, arguments: object = None, call_id: str | None = None
) -> Block[OperationHandle]: ...


def tool(name: object = None, *, arguments: object = None, call_id: str | None = None) -> Any:
    """Record a tool call as a span ``execute_tool <name>``: context manager and decorator.

    With content capture on, the arguments and the return value of a decorated function are recorded. In a ``with``
    block, pass them yourself: ``with tool("search", arguments={...}) as run: run.result(...)``.

    Args:
        name: The name of the tool in the requests to the model. Optional for a decorator, with or without
            parentheses: the default is the name of the function.
        arguments: The arguments of the tool call.
        call_id: The id of the tool call in the response of the model, if the block runs one call.

    Returns:
        The decorated function, or a block whose value is an ``OperationHandle``.

    Raises:
        TypeError: The name is neither text nor a function, or a class is decorated.
    """
    return _Tool.create(name, arguments, call_id)


@overload
def agent(name: F, /) -> F: ...


@overload
def agent(name: str | None = None, *, rollup: bool | None = None) -> Block[OperationHandle]: ...


def agent(name: object = None, *, rollup: bool | None = None) -> Any:
    """Record an agent's run as a span ``invoke_agent <name>``: context manager and decorator.

    With content capture on, the arguments and the return value of a decorated function are recorded. In a ``with``
    block, the first input and the last output of the calls inside are recorded, or the value set by ``run``.

    Args:
        name: The name of the agent. Optional for a decorator: the default is the name of the function.
        rollup: True to record the tokens and cost of the calls inside under ``llmtrace.rollup.*``, names that no
            backend adds up a second time. By default the setting ``rollup``.

    Returns:
        The decorated function, or a block whose value is an ``OperationHandle``.

    Raises:
        TypeError: The name is neither text nor a function, or a class is decorated.
    """
    return _Agent.create(name, rollup)


@overload
def workflow(name: F, /) -> F: ...


@overload
def workflow(name: str | None = None, *, rollup: bool | None = None) -> Block[OperationHandle]: ...


def workflow(name: object = None, *, rollup: bool | None = None) -> Any:
    """Record a workflow, pipeline or chain as a span ``invoke_workflow <name>``: context manager and decorator.

    With content capture on, the arguments and the return value of a decorated function are recorded. In a ``with``
    block, the first input and the last output of the calls inside are recorded, or the value set by ``run``.

    Args:
        name: The name of the workflow. Optional for a decorator: the default is the name of the function.
        rollup: True to record the tokens and cost of the calls inside under ``llmtrace.rollup.*``. By default the
            setting ``rollup``.

    Returns:
        The decorated function, or a block whose value is an ``OperationHandle``.

    Raises:
        TypeError: The name is neither text nor a function, or a class is decorated.
    """
    return _Workflow.create(name, rollup)
