"""Operations that a framework reports by callbacks, between which no block can be open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import lru_cache
from typing import Any

from opentelemetry.context import Context

from . import state
from .blocks import Activation
from .operation import Operation
from .operations import OperationBlock, agent, tool, workflow
from .retrieval import Search, rerank, retrieval
from .validation import clean_label

_BLOCKS: dict[str, Callable[[Any], Any]] = {make.__name__: make for make in (tool, agent, workflow, retrieval, rerank)}


class ReportedError(Exception):
    """Error of an operation that its framework has handled and reports as text."""


@lru_cache(1024)
def _block(client: str, kind: str, name: str) -> OperationBlock[Any]:
    """Return the block of an operation, which all its runs share."""
    block: OperationBlock[Any] = _BLOCKS[kind](name or None)
    block.client = client
    return block


class CallbackRun:
    """One operation that begins and ends in callbacks, perhaps in different threads and tasks.

    Its context is not current by itself: make it current where the operation does its work.
    """

    __slots__ = ("_block", "_handled", "activation", "context", "operation", "reads_content")

    def __init__(self, client: str, kind: str, name: str, outer: Context, session: object = None) -> None:
        """Begin an operation of the framework ``client`` in the context ``outer``.

        ``session`` is that of the calls inside, unless an enclosing block has set one.
        """
        self._handled: BaseException | None = sys.exc_info()[1]
        self._block: OperationBlock[Any] = _block(client, kind, name)
        self.activation: Activation = Activation(outer)
        if session is not None and self.activation.call_context.session is None:
            label = clean_label("session", str(session))
            self.activation.call_context = replace(self.activation.call_context, session=label)
        self._block._open(self.activation, None)
        self.context: Context = self.activation.context
        self.operation: Operation = self.activation.payload[0]
        self.reads_content: bool = self.operation.reads_content
        """True if arguments and results are recorded, so that they must be read."""

    def encloses(self, context: Context) -> bool:
        """Return True if ``context`` is that of this operation, or of a block inside it."""
        activation = state.activation_of(context)
        while activation is not self.activation:
            if activation is None:
                return False
            activation = state.activation_of(activation.outer)
        return True

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
        Search(
            self.operation,
            self.activation,
            replace=self.operation.kind == "rerank",
            with_content=self.reads_content,
        ).add(documents)

    def raised(self) -> BaseException | None:
        """Return the exception that is being handled now, unless that was so already when the operation began."""
        error = sys.exc_info()[1]
        return None if error is self._handled else error

    def end(self, error: BaseException | None = None) -> None:
        """End the operation. Its documents stay inside until they are propagated."""
        self._handled = None
        self._block._leave(self.activation, error)

    def propagate_documents(self) -> None:
        """Pass the documents retrieved inside to the operation above, for all that begins after this call."""
        if self.operation.kind == "retrieval":
            outer = innermost_operation(self.activation.outer)
            if outer is not None and outer.kind == "retrieval":
                if outer.inner_documents is not None:  # else the outer search has selected among them
                    outer.inner_documents += self.activation.documents.all_documents()[0]
                return
        self.activation.path = None  # not only for the thread or task in which the operation began
        self.activation.propagate_documents()


def innermost_operation(context: Context) -> Operation | None:
    """Return the operation of the innermost block that is open in ``context``, if it has one."""
    activation = state.activation_of(context)
    operation = activation.payload[0] if activation is not None and isinstance(activation.payload, tuple) else None
    return operation if isinstance(operation, Operation) else None
