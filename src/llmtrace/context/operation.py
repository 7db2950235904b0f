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
    """The data of one operation, from its start to its end.

    Fields that few operations set have their defaults in the class: most operations are created and ended by a
    framework, many times a second.
    """

    kind: str
    """``tool``, ``agent``, ``workflow``, ``retrieval`` or ``rerank``."""
    name: str | None
    """Name of the tool, agent or workflow; the data source of a search or the model of a reranker, if any."""
    call_context: CallContext
    agent: str | None
    """Name of the agent that the operation belongs to."""
    started: float
    client: str
    """Last part of the tracer's name: the client library that runs the operation, or ``scope`` for the program."""
    description: str | None = None
    reads_content: bool = False
    """True if arguments and results are recorded, so that they must be read."""
    call_id: str | None = None
    """Id that the model gave to the call of the tool."""
    arguments: Any = None
    result: Any = None
    first_input: tuple[int, Sequence[Any]] | None = None
    """Start of the earliest call inside, in nanoseconds, and the messages of its request."""
    last_output: Sequence[Any] = ()
    """Messages of the latest response inside."""
    query: str | None = None
    top_k: int | None = None
    database: Database | None = None
    """Database of a search, if it is known."""
    input_documents: list[Document]
    """Documents that a reranker ranks."""
    documents: list[Document]
    """Documents that a search retrieved or a reranker kept."""
    inner_documents: list[Document] | None
    """Documents of searches inside a search, its own if it adds none; ``None`` once it has added any itself."""
    calls: Calls | None = None
    """Calls made inside, if their sum is recorded."""
    inference_calls: count[int]
    """Counter of the calls of an agent, not those of agents inside. ``next`` counts one, in any thread."""
    tool_calls: count[int]
    """Counter of the tools of an agent, likewise."""
    parent: Context | None = None
    """Context of the parent span, if that is not the enclosing block's."""
    error: BaseException | None = None
    duration: float = 0.0
    """Seconds from start to end."""
    span: Any = None
    """Span of the operation, set by the emitter."""

    def __init__(self, kind: str, name: str | None, call_context: CallContext, client: str = "scope") -> None:
        self.kind = kind
        self.name = name
        self.call_context = call_context
        self.agent = call_context.agent
        self.client = client
        self.input_documents, self.documents, self.inner_documents = [], [], []
        self.started = perf_counter()

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
