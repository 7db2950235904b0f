"""Usage that is reported after creation: background responses, background interactions and assistant runs."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..model import Response

if TYPE_CHECKING:
    from .call import OpenCall

__all__ = ["FETCH", "BackgroundUsage", "assign_usage", "forget"]

FETCH = "fetch_response"
_MAX_IDS = 16_384


class BackgroundUsage:
    """Ids whose usage is awaited and ids that are billed; both bounded, the oldest are forgotten first.

    Every step is one operation of a dictionary and needs no lock: the end of a call may run in a signal handler that
    interrupts another end of a call.
    """

    def __init__(self, max_ids: int = _MAX_IDS) -> None:
        self._max_ids = max_ids
        self._awaited: dict[str, Any] = {}
        """By id, what the budgets reserved for the creation."""
        self._billed: dict[str, object] = {}

    def record_creation(self, identifier: str, *, reported: bool, reservation: Any = None) -> None:
        """Record a creation in the background, and whether it reported its usage."""
        if reported:
            self._billed[identifier] = None
            self._awaited.pop(identifier, None)
        else:
            self._awaited[identifier] = reservation
            self._billed.pop(identifier, None)
        self._trim()

    def claim(self, identifier: str, *, background: bool) -> tuple[bool, Any]:
        """Return whether this fetch bills ``identifier``, and what was reserved for the creation.

        Args:
            identifier: The id of the fetched object, which has ended and reports its usage.
            background: The object's own flag: it decides where another process created the object.
        """
        if not (background or identifier in self._awaited):
            return False, None
        mine = object()
        if self._billed.setdefault(identifier, mine) is not mine:
            return False, None
        self._trim()
        return True, self._awaited.pop(identifier, None)

    def clear(self) -> None:
        """Forget all ids."""
        self._awaited.clear()
        self._billed.clear()

    def _trim(self) -> None:
        for ids in (self._awaited, self._billed):
            while len(ids) > self._max_ids:
                # Another thread may change the dictionary between the two steps; it trims as well.
                with suppress(RuntimeError, StopIteration):
                    ids.pop(next(iter(ids)), None)


_process = BackgroundUsage()
"""Survives ``uninstrument``; a forked child inherits the ids."""
forget = _process.clear


def assign_usage(call: OpenCall, answer: Response) -> Response:
    """Return ``answer`` with its usage where ``call`` bills it, and without where another call does.

    A creation always keeps what it reports. A fetch keeps the usage once per process and id, when the object has ended
    and either this process awaits its usage or the object says that it ran in the background.
    """
    identifier = call.request.response_id or answer.id
    if call.request.operation != FETCH:
        if identifier is not None:
            reservation = None if call.reservation is None else call.reservation.kept_for_fetch()
            _process.record_creation(identifier, reported=bool(answer.usage), reservation=reservation)
        return answer
    if identifier is not None and answer.usage and answer.finish_reasons:
        bills, reservation = _process.claim(identifier, background=answer.background)
        if bills:
            call.reservation = reservation
            return answer
    return replace(answer, usage=None, stated_cost=None, additional_usage=())
