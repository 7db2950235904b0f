"""Operations of the program that get a span of their own: a tool, an agent, a workflow, a search."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from opentelemetry.context import Context

from ..model import CallContext, Document

if TYPE_CHECKING:
    from .collect import Calls
    from .score import Score


class Database(NamedTuple):
    """Database that a search is sent to."""

    system: str
    """Name of the product."""
    operation: str
    """Name of the operation in the client library."""
    collection: str | None
    namespace: str | None = None
    """Name of the database that has the collection."""
    address: str | None = None
    """Host of the server."""
    port: int | None = None


class Operation:
    """The data of one operation, from its start to its end."""

    __slots__ = ("agent", "arguments", "call_context", "call_id", "calls", "client", "database", "description",
                 "documents", "duration", "error", "first_input", "inference_calls", "inner_documents",
                 "input_documents", "kind", "last_output", "name", "parent", "query", "reads_content", "result", "span",
                 "started", "tool_calls", "top_k")  # fmt: skip

    def __init__(self, kind: str, name: str | None, call_context: CallContext) -> None:
        self.kind: str = kind
        """``tool``, ``agent``, ``workflow``, ``retrieval`` or ``rerank``."""
        self.name: str | None = name
        """Name of the tool, agent or workflow; the data source of a search or the model of a reranker, if any."""
        self.call_context: CallContext = call_context
        self.agent: str | None = call_context.agent
        """Name of the agent that the operation belongs to."""
        self.description: str | None = None
        self.reads_content: bool = False
        """True if arguments and results are recorded, so that they must be read."""
        self.call_id: str | None = None
        """Id that the model gave to the call of the tool."""
        self.arguments: Any = None
        self.result: Any = None
        self.first_input: tuple[int, Sequence[Any]] | None = None
        """Start of the earliest call inside, in nanoseconds, and the messages of its request."""
        self.last_output: Sequence[Any] = ()
        """Messages of the latest response inside."""
        self.query: str | None = None
        self.top_k: int | None = None
        self.database: Database | None = None
        """Database of a search, if it is known."""
        self.input_documents: list[Document] = []
        """Documents that a reranker ranks."""
        self.documents: list[Document] = []
        """Documents that a search retrieved or a reranker kept."""
        self.inner_documents: list[Document] | None = []
        """Documents of searches inside a search, its own if it adds none; ``None`` once it has added any itself."""
        self.calls: Calls | None = None
        """Calls made inside, if their sum is recorded."""
        self.inference_calls: count[int] = count()
        """Counter of the calls of an agent, not those of agents inside. ``next`` counts one, in any thread."""
        self.tool_calls: count[int] = count()
        """Counter of the tools of an agent, likewise."""
        self.client: str = "scope"
        """Last part of the tracer's name: the client library that runs the operation, or ``scope`` for the program."""
        self.parent: Context | None = None
        """Context of the parent span, if that is not the enclosing block's."""
        self.error: BaseException | None = None
        self.started: float = perf_counter()
        self.duration: float = 0.0
        """Seconds from start to end."""
        self.span: Any = None
        """Span of the operation, set by the emitter."""

    def drop_content(self) -> None:
        """Drop content, context and span: a span that waits for its exporter must not keep them alive."""
        self.call_context = self.call_context.without_content()
        self.arguments = self.result = self.query = self.first_input = self.parent = self.span = None
        self.last_output = ()
        self.inner_documents = None
        if self.documents or self.input_documents:
            self.input_documents = [each.without_content() for each in self.input_documents]
            self.documents = [each.without_content() for each in self.documents]


class OperationEmitter(Protocol):
    """Emitter that turns operations into spans and scores into events. Without one, blocks record nothing."""

    rollup: bool
    """Default of ``rollup``: true if agents and workflows record the sum of the calls inside."""

    def reads_content(self, call_context: CallContext) -> bool:
        """Return true if arguments and results are recorded, so that they must be read."""

    def begin(self, operation: Operation, outer: Context) -> Context:
        """Start a span below the span of ``outer`` and return the context in which it is current."""

    def record_error(self, operation: Operation, error: BaseException) -> None:
        """Record an error that does not end ``operation``."""

    def end(self, operation: Operation) -> None:
        """End the span of ``operation`` and record its attributes."""

    def score(self, score: Score) -> None:
        """Record an evaluation result."""


_emitter: OperationEmitter | None = None


def set_emitter(emitter: OperationEmitter | None) -> None:
    """Set the emitter of the process; ``None`` records no operations."""
    global _emitter  # noqa: PLW0603 - one for the process
    _emitter = emitter


def get_emitter() -> OperationEmitter | None:
    """Return the emitter of the process, if one is set."""
    return _emitter


def records_operations() -> bool:
    """Return True if operations get spans now."""
    return _emitter is not None
