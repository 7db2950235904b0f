"""Which retrieved documents a call was given: those found earlier on its own path."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import ContextVar, Token
from typing import NamedTuple

from ..facts import Document

__all__ = ["Flow", "Shelf", "add_to_trace", "begin_flow", "end_flow", "flow", "seen_in_trace", "traces"]

_MOST = 1000
_TRACES = 128


class Flow:
    """One strand of work: a task, or one run of a thread under one copy of the context."""

    __slots__ = ("place",)

    def __init__(self, place: object) -> None:
        self.place = place


_flow: ContextVar[Flow | None] = ContextVar("llmtrace-flow", default=None)


def flow() -> Flow:
    """The strand of work that asks.

    The mark is inherited by copies of the context, so it also says where it was made; the thread alone would not do,
    since a pool uses one thread for many strands.
    """
    place = _place()
    mark = _flow.get()
    if mark is None or mark.place != place:
        mark = Flow(place)
        _flow.set(mark)
    return mark


def begin_flow() -> Token[Flow | None]:
    """What runs now in this thread is a strand of its own."""
    return _flow.set(Flow(_place()))


def end_flow(mark: Token[Flow | None]) -> None:
    _flow.reset(mark)


def _place() -> tuple[int, int]:
    asyncio = sys.modules.get("asyncio")
    # To ask for the task where no loop runs would raise, which costs more than all the rest.
    if asyncio is None or asyncio._get_running_loop() is None:
        return threading.get_ident(), 0
    return threading.get_ident(), id(asyncio.current_task())


class _Added(NamedTuple):
    by: Flow | None
    trace: int
    documents: tuple[Document, ...]
    alone: bool
    """These took the place of what was found before, as a reranker's do."""


class Shelf:
    """The documents found inside one block.

    Who entered the block sees everything. Strands that it started see what it found and what they found themselves, and
    nothing of one another.
    """

    __slots__ = ("_added", "_before", "_owner")

    def __init__(self, before: tuple[Document, ...] = (), owner: Flow | None = None) -> None:
        self._before = before
        self._owner = owner
        self._added: list[_Added] = []

    def add(self, by: Flow | None, trace: int, documents: Iterable[Document], *, alone: bool = False) -> None:
        self._added.append(_Added(by, trace, tuple(documents)[-_MOST:], alone))
        if len(self._added) > _MOST:
            del self._added[0]

    def seen(self, by: Flow | None, trace: int) -> tuple[Document, ...]:
        if not self._added:
            return self._before
        shown = {document.id: document for document in self._before}
        for one in self._added:
            if one.by is not None and one.by is not by and one.by is not self._owner and by is not self._owner:
                continue
            if one.trace and one.trace != trace:
                continue
            if one.alone:
                shown = {}
            shown.update((document.id, document) for document in one.documents)
        return tuple(shown.values())[-_MOST:]

    def found(self) -> tuple[tuple[Document, ...], bool]:
        """All that was found inside, and whether it stands alone."""
        if not self._added:
            return (), False
        shown: dict[str, Document] = {}
        alone = False
        for one in list(self._added):
            if one.alone:
                shown, alone = {}, True
            shown.update((document.id, document) for document in one.documents)
        return tuple(shown.values()), alone

    @property
    def empty(self) -> bool:
        return not self._added and not self._before


_traces: OrderedDict[int, Shelf] = OrderedDict()
"""What was found in a trace outside every block of ours, for the latest traces."""
_lock = threading.Lock()


def traces() -> bool:
    """Whether anything was found outside every block."""
    return bool(_traces)


def seen_in_trace(trace: int) -> tuple[Document, ...]:
    shelf = _traces.get(trace)
    return () if shelf is None else shelf.seen(None, trace)


def add_to_trace(trace: int, documents: tuple[Document, ...], *, alone: bool) -> None:
    with _lock:
        shelf = _traces.pop(trace, None) or Shelf()
        shelf.add(None, trace, documents, alone=alone)
        _traces[trace] = shelf
        if len(_traces) > _TRACES:
            _traces.popitem(last=False)


def forget() -> None:
    global _lock  # noqa: PLW0603 - a child process must not wait for its parent's thread
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=forget)
