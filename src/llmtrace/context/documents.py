"""Which retrieved documents a call was given: those found earlier on its own path."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple

from ..model import Document

__all__ = [
    "DocumentContext",
    "ExecutionPath",
    "add_to_trace",
    "begin_path",
    "current_path",
    "documents_in_trace",
    "end_path",
    "has_traces",
]

_MAX_DOCUMENTS = 1000
_MAX_TRACES = 128


class ExecutionPath:
    """One strand of work: a task, or one run of a thread under one copy of the context."""

    __slots__ = ("__weakref__", "place", "returned")

    def __init__(self, place: object, returned: Callable[[], bool]) -> None:
        self.place = place
        self.returned = returned
        """Returns whether the work is known to be done."""


def _unknown() -> bool:
    return False


_path: ContextVar[ExecutionPath | None] = ContextVar("llmtrace-flow", default=None)


def current_path() -> ExecutionPath:
    """The strand of work that asks.

    The mark is inherited by copies of the context, so it also says where it was made; the thread alone would not do,
    since a pool uses one thread for many strands.
    """
    task = _task()
    place = threading.get_ident(), 0 if task is None else id(task)
    mark = _path.get()
    if mark is None or mark.place != place:
        mark = _new(place, task)
        _path.set(mark)
    return mark


def begin_path() -> Token[ExecutionPath | None]:
    """Begin a strand of its own in this thread or task."""
    task = _task()
    return _path.set(_new((threading.get_ident(), 0 if task is None else id(task)), task))


def _new(place: object, task: Any) -> ExecutionPath:
    if task is None:
        return ExecutionPath(place, _unknown)
    known = weakref.ref(task)

    def returned() -> bool:
        task = known()
        return task is None or bool(task.done())

    return ExecutionPath(place, returned)


def end_path(mark: Token[ExecutionPath | None]) -> None:
    _path.reset(mark)


def _task() -> Any:
    """Return the running task, if any."""
    asyncio = sys.modules.get("asyncio")
    # To ask for the task where no loop runs would raise, which costs more than all the rest.
    if asyncio is None or asyncio._get_running_loop() is None:
        return None
    return asyncio.current_task()


class _Added(NamedTuple):
    by: weakref.ref[ExecutionPath] | None
    """Who found them, if not the owner of the block.

    Weak, because a strand without a task is known to be over when the copy of the context that has its mark is gone.
    """
    trace: int
    documents: tuple[Document, ...]
    replace: bool
    """These took the place of what was found before, as a reranker's do."""


class DocumentContext:
    """The documents found inside one block.

    Who entered the block sees everything. Strands that it started see what it found and what they found themselves, and
    nothing of one another. In the block of an agent or workflow, which is ``shared``, they also see what strands found
    that have returned: frameworks run each tool, and each call to a model, in a strand of its own.
    """

    __slots__ = ("_added", "_before", "_owner", "shared")

    def __init__(self, before: tuple[Document, ...] = (), owner: ExecutionPath | None = None) -> None:
        self._before = before
        self._owner = None if owner is None else weakref.ref(owner)
        self.shared = False
        self._added: list[_Added] = []

    def add(
        self, by: ExecutionPath | None, trace: int, documents: Iterable[Document], *, replace: bool = False
    ) -> None:
        kept = None if by is None or by is self._owner_alive() else weakref.ref(by)
        self._added.append(_Added(kept, trace, tuple(documents)[-_MAX_DOCUMENTS:], replace))
        if len(self._added) > _MAX_DOCUMENTS:
            del self._added[0]

    def documents_for(self, by: ExecutionPath | None, trace: int) -> tuple[Document, ...]:
        if not self._added:
            return self._before
        shown = {document.id: document for document in self._before}
        all_visible = by is self._owner_alive()
        for one in self._added:
            if not all_visible and not self._visible(one, by):
                continue
            if one.trace and one.trace != trace:
                continue
            if one.replace:
                shown = {}
            shown.update((document.id, document) for document in one.documents)
        return tuple(shown.values())[-_MAX_DOCUMENTS:]

    def _visible(self, one: _Added, by: ExecutionPath | None) -> bool:
        if one.by is None:
            return True
        finder = one.by()
        if finder is by and by is not None:
            return True
        return self.shared and (finder is None or finder.returned())

    def _owner_alive(self) -> ExecutionPath | None:
        return None if self._owner is None else self._owner()

    def all_documents(self) -> tuple[tuple[Document, ...], bool]:
        """All that was found inside, and whether it stands alone."""
        if not self._added:
            return (), False
        shown: dict[str, Document] = {}
        alone = False
        for one in list(self._added):
            if one.replace:
                shown, alone = {}, True
            shown.update((document.id, document) for document in one.documents)
        return tuple(shown.values()), alone

    @property
    def empty(self) -> bool:
        return not self._added and not self._before


_traces: OrderedDict[int, DocumentContext] = OrderedDict()
"""What was found in a trace outside every block of ours, for the latest traces."""
_lock = threading.Lock()


def has_traces() -> bool:
    """Whether anything was found outside every block."""
    return bool(_traces)


def documents_in_trace(trace: int) -> tuple[Document, ...]:
    shelf = _traces.get(trace)
    return () if shelf is None else shelf.documents_for(None, trace)


def add_to_trace(trace: int, documents: tuple[Document, ...], *, replace: bool) -> None:
    with _lock:
        shelf = _traces.pop(trace, None) or DocumentContext()
        shelf.add(None, trace, documents, replace=replace)
        _traces[trace] = shelf
        if len(_traces) > _MAX_TRACES:
            _traces.popitem(last=False)


def forget_traces() -> None:
    """Forget the documents of all traces."""
    with _lock:
        _traces.clear()


def forget() -> None:
    global _lock  # noqa: PLW0603 - a child process must not wait for its parent's thread
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=forget)
