"""Operations in progress, by the ids that a framework gives to its runs."""

from __future__ import annotations

import json
from asyncio import CancelledError
from collections.abc import Hashable
from typing import Any

from .._process import ForkSafeLock
from ..context import state
from ..context.callback_run import CallbackRun, ReportedError
from ..context.operation import records_operations

__all__ = ["OpenRuns", "ReportedError", "parse_json", "records_operations"]

_MAX_RUNS = 10_000
"""Runs in progress; beyond it the oldest is ended. A framework may omit the callback of an end."""


class _OpenRun:
    """A run in progress: a block in which its result can be read, and which ends the run in any case.

    The value of the block is the operation of the run itself, if it has one.
    """

    __slots__ = ("above", "children", "ended", "key", "owned", "run", "runs", "step")

    def __init__(
        self,
        runs: OpenRuns | None,
        key: Hashable,
        above: _OpenRun | None,
        run: CallbackRun | None,
        *,
        owned: bool,
        step: int | None = None,
    ) -> None:
        self.runs = runs
        self.key = key
        self.above = above
        self.run = run
        """Operation of the run, or of the nearest run above it that has one."""
        self.owned = owned
        """True if the operation is that of the run itself."""
        self.step = step
        """Number of the step, if the run above runs its children in parallel steps."""
        self.children: set[_OpenRun] = set()
        self.ended: list[tuple[int, CallbackRun]] = []
        """Children that have ended, whose documents only those of later steps receive."""

    def propagate_documents(self, step: int | None = None) -> None:
        """Pass on the documents of children that ended in steps before ``step``, or of all."""
        for child in [each for each in self.ended if step is None or each[0] < step]:
            child[1].propagate_documents()
            self.ended.remove(child)

    def end(self, error: BaseException | None) -> None:
        """End the operation of the run, after those of the runs inside that have not ended."""
        above = self.above
        if above is not None:
            above.children.discard(self)
        if self.children and self.runs is not None:
            for child in list(self.children):
                self.runs.end(child.key, error or CancelledError())
        if self.ended:
            self.propagate_documents()
        if self.owned and self.run is not None:
            self.run.end(error)
            if above is not None and self.step is not None:
                above.ended.append((self.step, self.run))
            else:
                self.run.propagate_documents()

    def __enter__(self) -> CallbackRun | None:
        return self.run if self.owned else None

    def __exit__(self, *_: object) -> None:
        error: BaseException | None = None
        try:
            if self.owned and self.run is not None:
                error = self.run.operation.error
                self.run.detach()
        finally:
            if self.runs is not None:
                self.runs.end(self.key, error)


_NO_RUN = _OpenRun(None, None, None, None, owned=False)
"""Stands for a run that is not in progress."""


class OpenRuns:
    """Operations in progress of one framework."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._entries: dict[Hashable, _OpenRun] = {}
        self._lock = ForkSafeLock()

    def begin(
        self,
        key: Hashable,
        parent: Hashable,
        kind: str,
        name: str,
        *,
        session: object = None,
        step: int | None = None,
    ) -> CallbackRun:
        """Begin an operation below that of the run ``parent``, or in the current context if there is none."""
        above = self._entries.get(parent)
        if step is not None and above is not None and above.ended:
            with self._lock:  # a node that begins at the same time must find the documents propagated
                above.propagate_documents(step)
        run = CallbackRun(self._client, kind, name, _context(None if above is None else above.run), session)
        self._add(_OpenRun(self, key, above, run, owned=True, step=step))
        return run

    def skip(self, key: Hashable, parent: Hashable) -> None:
        """Begin a run without an operation: the runs inside belong to the operation above it."""
        above = self._entries.get(parent)
        self._add(_OpenRun(self, key, above, None if above is None else above.run, owned=False))

    def _add(self, entry: _OpenRun) -> None:
        if entry.above is not None:
            entry.above.children.add(entry)
        self._entries[entry.key] = entry
        if len(self._entries) > _MAX_RUNS:
            self.end(next(iter(list(self._entries))), CancelledError())

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, key: Hashable) -> CallbackRun | None:
        """Return the operation of a run, or of the nearest run above it that has one."""
        entry = self._entries.get(key)
        return None if entry is None else entry.run

    def own(self, key: Hashable) -> CallbackRun | None:
        """Return the operation of the run itself, if it has one."""
        entry = self._entries.get(key)
        return entry.run if entry is not None and entry.owned else None

    def attach(self, key: Hashable) -> Any:
        """Make the context of a run current. Return the token that ``state.restore`` takes, if it was not current."""
        entry = self._entries.get(key)
        if entry is None or entry.run is None or entry.run.encloses(state.current()):
            return None
        return state.attach(entry.run.context)

    def ending(self, key: Hashable) -> _OpenRun:
        """Return a block in which the result of a run can be read, and which ends the run in any case.

        Its value is the operation of the run itself, if it has one.
        """
        return self._entries.get(key, _NO_RUN)

    def end(self, key: Hashable, error: BaseException | None = None) -> None:
        """End a run, and the runs inside that have not ended."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.end(error)


def _context(run: CallbackRun | None) -> Any:
    """Return the context for work of a run: the current one if that is inside its operation already."""
    current = state.current()
    return current if run is None or run.encloses(current) else run.context


def parse_json(text: object) -> Any:
    """Return the object that ``text`` is in JSON, or ``text`` itself."""
    if not isinstance(text, str) or not text.startswith("{"):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text
