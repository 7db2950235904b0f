"""Retrieved documents: which of them a call received, by the execution path that retrieved them."""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from .._compat.standard_library import running_task
from .._errors import log_internal_error
from .._process import ForkSafeLock
from ..model import Document

_MAX_DOCUMENTS = 1000
_MAX_TRACES = 128


class ExecutionPath:
    """One path of execution: a task, or one run of a thread under one copy of the context."""

    __slots__ = ("__weakref__", "place", "returned")

    def __init__(self, place: object, returned: Callable[[], bool]) -> None:
        self.place: object = place
        """The ids of the thread and the task, 0 without a task."""
        self.returned: Callable[[], bool] = returned
        """Function that returns true once the path has certainly ended."""


_path: ContextVar[ExecutionPath | None] = ContextVar("llmtrace-path", default=None)


def current_path() -> ExecutionPath:
    """Return the execution path of the caller, and create it if there is none.

    Copies of the context inherit the path, so its place is compared with the current thread and task. The thread id
    alone is not enough, because a pool runs many paths on one thread.
    """
    task = running_task()
    place = threading.get_ident(), 0 if task is None else id(task)
    path = _path.get()
    if path is None or path.place != place:
        path = _new_path(place, task)
        _path.set(path)
    return path


def begin_path() -> Token[ExecutionPath | None] | None:
    """Begin a new execution path in this thread or task. Return the token that ``end_path`` needs. Never raises."""
    try:
        task = running_task()
        return _path.set(_new_path((threading.get_ident(), 0 if task is None else id(task)), task))
    except Exception:
        log_internal_error("begin an execution path")
        return None


def _new_path(place: object, task: Any) -> ExecutionPath:
    if task is None:
        return ExecutionPath(place, lambda: False)
    reference = weakref.ref(task)

    def returned() -> bool:
        task = reference()
        return task is None or bool(task.done())

    return ExecutionPath(place, returned)


def end_path(token: Token[ExecutionPath | None] | None) -> None:
    """Restore the execution path that was current before ``begin_path`` returned ``token``. Never raises."""
    try:
        if token is not None:
            _path.reset(token)
    except Exception:
        log_internal_error("end an execution path")


class _Retrieved(NamedTuple):
    path: weakref.ref[ExecutionPath] | None
    """Path that retrieved the documents, or ``None`` for the owner of the block.

    The reference is weak: a path without a task has ended when the copy of the context that holds it is freed.
    """
    trace: int
    documents: tuple[Document, ...]
    replace: bool
    """True if these documents replace those retrieved before, as a reranker's do."""


class DocumentContext:
    """The documents retrieved inside one block.

    The path that entered the block sees all of them. Paths started by it see what it retrieved and what they
    retrieved themselves, and nothing of one another. The block of an agent or workflow is ``shared``: there they also
    see what returned paths retrieved, because frameworks run each tool and each call to a model in a path of its own.
    """

    __slots__ = ("_owner", "inherited", "retrieved", "shared")

    def __init__(self, inherited: tuple[Document, ...] = (), owner: ExecutionPath | None = None) -> None:
        self.inherited: tuple[Document, ...] = inherited
        self._owner = None if owner is None else weakref.ref(owner)
        self.shared: bool = False
        self.retrieved: list[_Retrieved] = []
        """Documents retrieved inside the block, in order."""

    def add(
        self, path: ExecutionPath | None, trace: int, documents: Iterable[Document], *, replace: bool = False
    ) -> None:
        """Add documents, of which the last 1000 are kept.

        A ``path`` of ``None`` is the owner of the block, and a ``trace`` of 0 every trace. With ``replace``, they
        replace those retrieved before.
        """
        reference = None if path is None or path is self._live_owner() else weakref.ref(path)
        self.retrieved.append(_Retrieved(reference, trace, tuple(documents)[-_MAX_DOCUMENTS:], replace))
        if len(self.retrieved) > _MAX_DOCUMENTS:
            del self.retrieved[0]

    def documents_for(self, path: ExecutionPath | None, trace: int) -> tuple[Document, ...]:
        """Return the documents that a call made on ``path`` in ``trace`` can have received, each id once."""
        if not self.retrieved:
            return self.inherited
        by_id = {document.id: document for document in self.inherited}
        all_visible = path is self._live_owner()
        for entry in self.retrieved:
            if not all_visible and not self._is_visible(entry, path):
                continue
            if entry.trace and entry.trace != trace:
                continue
            if entry.replace:
                by_id = {}
            by_id.update((document.id, document) for document in entry.documents)
        return tuple(by_id.values())[-_MAX_DOCUMENTS:]

    def _is_visible(self, entry: _Retrieved, path: ExecutionPath | None) -> bool:
        if entry.path is None:
            return True
        retriever = entry.path()
        if retriever is path and path is not None:
            return True
        return self.shared and (retriever is None or retriever.returned())

    def _live_owner(self) -> ExecutionPath | None:
        return None if self._owner is None else self._owner()

    def all_documents(self) -> tuple[tuple[Document, ...], bool]:
        """Return all documents retrieved inside the block, and true if they replace those retrieved before it."""
        by_id: dict[str, Document] = {}
        replace = False
        for entry in list(self.retrieved):
            if entry.replace:
                by_id, replace = {}, True
            by_id |= {document.id: document for document in entry.documents}
        return tuple(by_id.values()), replace


_traces: OrderedDict[int, DocumentContext] = OrderedDict()
"""Documents retrieved outside every block, by trace id, for the latest traces."""
_lock = ForkSafeLock(threading.RLock)  # a generator that is collected on the thread that holds it adds documents too


def has_traces() -> bool:
    """Return true if documents were retrieved outside every block."""
    return bool(_traces)


def documents_in_trace(trace: int) -> tuple[Document, ...]:
    """Return the documents that were retrieved in ``trace`` outside every block."""
    retrieved = _traces.get(trace)
    return () if retrieved is None else retrieved.documents_for(None, trace)


def add_to_trace(trace: int, documents: tuple[Document, ...], *, replace: bool) -> None:
    """Add documents to a trace outside every block; the oldest trace is forgotten when there are too many."""
    with _lock:
        _traces.setdefault(trace, DocumentContext()).add(None, trace, documents, replace=replace)
        _traces.move_to_end(trace)
        if len(_traces) > _MAX_TRACES:
            _traces.popitem(last=False)


def forget_traces() -> None:
    """Forget the documents of all traces."""
    with _lock:
        _traces.clear()
