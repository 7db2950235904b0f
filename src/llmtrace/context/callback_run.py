"""Operations that a framework reports by callbacks, between which no block can be open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.context import Context

from . import state
from .blocks import Activation, Block
from .operation import Operation, get_emitter
from .operations import OperationBlock, agent, tool, workflow
from .retrieval import Search, rerank, retrieval
from .tags import tag

_BLOCKS: dict[str, Callable[[Any], Any]] = {
    "tool": tool,
    "agent": agent,
    "workflow": workflow,
    "retrieval": retrieval,
    "rerank": rerank,
}


class CallbackRun:
    """One operation that begins and ends in callbacks, perhaps in different threads and tasks.

    Its context is not current by itself: make it current where the operation does its work.
    """

    __slots__ = ("_entered", "_handled", "activation", "context", "operation")

    def __init__(self, client: str, kind: str, name: str, outer: Context, session: object = None) -> None:
        """Begin an operation of the framework ``client`` in the context ``outer``.

        ``session`` is that of the calls inside, unless an enclosing block has set one.
        """
        self._handled: BaseException | None = sys.exc_info()[1]
        self._entered: list[tuple[Block[Any], Activation]] = []
        self.context: Context = outer
        if session is not None and state.call_context_of(outer).session is None:
            self._enter(tag(session=str(session)))
        block: OperationBlock[Any] = _BLOCKS[kind](name or None)
        block.client = client
        self._enter(block)
        self.activation: Activation = self._entered[-1][1]
        self.operation: Operation = self.activation.payload[0]

    def _enter(self, block: Block[Any]) -> None:
        activation = block._begin(self.context)
        if activation is None:
            raise RuntimeError("the block of a callback cannot be entered")
        self._entered.append((block, activation))
        self.context = activation.context

    @property
    def reads_content(self) -> bool:
        """True if arguments and results are recorded, so that they must be read."""
        emitter = get_emitter()
        return emitter is not None and emitter.reads_content(self.operation.call_context)

    def encloses(self, context: Context) -> bool:
        """Return True if ``context`` is that of this operation, or of a block inside it."""
        activation = state.activation_of(context)
        while activation is not None and activation is not self.activation:
            activation = state.activation_of(activation.outer)
        return activation is not None

    def attach(self) -> None:
        """Make the context of the operation current in this thread or task, until ``detach`` is called in it."""
        self.activation.token = state.attach(self.context)

    def detach(self) -> None:
        """Make the context current again that was current before ``attach``."""
        token, self.activation.token = self.activation.token, None
        if token is not None:
            state.leave_activation(token, self.activation)

    def add_documents(self, documents: Iterable[object]) -> None:
        """Add documents that the operation retrieved or kept, of the types that ``retrieval().add`` takes."""
        Search(self.operation, self.activation, replace=self.operation.kind == "rerank").add(documents)

    def raised(self) -> BaseException | None:
        """Return the exception that is being handled now, unless that was so already when the operation began."""
        error = sys.exc_info()[1]
        return None if error is self._handled else error

    def end(self, error: BaseException | None = None) -> None:
        """End the operation. Its documents stay inside until they are propagated."""
        self._handled = None
        for block, activation in reversed(self._entered):
            block._leave(activation, error)

    def propagate_documents(self) -> None:
        """Pass the documents retrieved inside to the operation above, for all that begins after this call."""
        outer = innermost_operation(self.activation.outer)
        if outer is not None and outer.kind == self.operation.kind == "retrieval":
            return  # the outer search selects among the documents of this one
        for _, activation in reversed(self._entered):
            activation.path = None  # not only for the thread or task in which the operation began
            activation.propagate_documents()


def innermost_operation(context: Context) -> Operation | None:
    """Return the operation of the innermost block that is open in ``context``, if it has one."""
    activation = state.activation_of(context)
    operation = activation.payload[0] if activation is not None and isinstance(activation.payload, tuple) else None
    return operation if isinstance(operation, Operation) else None
