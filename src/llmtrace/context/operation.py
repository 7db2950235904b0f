"""A piece of the program's own work that is a span: a tool, an agent, a workflow, a search."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Protocol

from opentelemetry.context import Context

from ..model import CallContext, Document

if TYPE_CHECKING:
    from .collect import Calls
    from .score import Score

__all__ = ["Operation", "OperationEmitter", "get_emitter", "set_emitter"]


class Operation:
    """What is known of one piece of work, from its begin to its end."""

    __slots__ = ("agent", "arguments", "calls", "client", "description", "documents", "error", "first_input",
                 "given", "kind", "last_output", "name", "parent", "query", "result", "scope", "span", "started",
                 "top_k")  # fmt: skip

    def __init__(self, kind: str, name: str | None, scope: CallContext) -> None:
        self.kind = kind
        """``tool``, ``agent``, ``workflow``, ``retrieval`` or ``rerank``."""
        self.name = name
        """Of the tool, agent or workflow; a search's data source or a reranker's model, if known."""
        self.scope = scope
        self.agent: str | None = scope.agent
        """The agent that the work is done for."""
        self.description: str | None = None
        self.arguments: Any = None
        self.result: Any = None
        self.first_input: tuple[int, Sequence[Any]] | None = None
        """When the first call inside was made, and the messages of its request."""
        self.last_output: Sequence[Any] = ()
        """The messages that the last call inside got."""
        self.query: str | None = None
        self.top_k: int | None = None
        self.given: list[Document] = []
        """What a reranker was given."""
        self.documents: list[Document] = []
        """What was found."""
        self.calls: Calls | None = None
        """The calls made inside, when their sum is wanted."""
        self.client = "scope"
        """The client library that does the work; by default the program itself."""
        self.parent: Context | None = None
        """Where the span belongs, if not to the block around."""
        self.error: BaseException | None = None
        self.started = perf_counter()
        self.span: Any = None
        """The maker's."""


class OperationEmitter(Protocol):
    """Turns work into spans and scores into events. Without one, all that runs is the program."""

    rollup: bool
    """Whether agents and workflows say the sum of the calls inside, where they do not say themselves."""

    def reads_content(self, scope: CallContext) -> bool:
        """Whether arguments and results will be written, and so are worth reading."""

    def begin(self, work: Operation, outer: Context) -> Context:
        """Start a span below ``outer``'s and answer the context in which it is current."""

    def end(self, work: Operation) -> None: ...

    def score(self, score: Score) -> None: ...


_emitter: OperationEmitter | None = None


def set_emitter(chosen: OperationEmitter | None) -> None:
    """Have ``chosen`` make the spans from now on; ``None`` for nobody."""
    global _emitter  # noqa: PLW0603 - one for the process
    _emitter = chosen


def get_emitter() -> OperationEmitter | None:
    return _emitter
