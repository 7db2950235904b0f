"""Usage that is reported after creation: background responses and interactions, assistant runs and batches."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from ..model import Response

if TYPE_CHECKING:
    from .call import CallState

FETCH = "fetch_response"
_MAX_IDS = 262_144  # two of the largest batches of Anthropic


class BackgroundUsage:
    """Ids of objects whose usage is awaited, and ids of objects that are billed.

    Both sets are bounded: the oldest ids are evicted first. Every step is one dictionary operation and takes no lock,
    because a call may end in a signal handler that interrupts the end of another call.
    """

    def __init__(self, max_ids: int = _MAX_IDS) -> None:
        self._max_ids = max_ids
        self._awaited: dict[str, Any] = {}
        """Budget reservations of the creating calls, by id."""
        self._billed: dict[str, object] = {}

    def record_creation(self, identifier: str, *, reported: bool, reservation: Any = None) -> None:
        """Record an object created in the background, and if the creating call already reported its usage.

        If it did not, the fetch that bills the object settles ``reservation``, that of the creating call.
        """
        if reported:
            self._billed[identifier] = None
            self._awaited.pop(identifier, None)
        else:
            self._awaited[identifier] = reservation
            self._billed.pop(identifier, None)
        self._trim()

    def claim(self, identifier: str, *, background: bool) -> tuple[bool, Any]:
        """Return True if this fetch bills ``identifier``, and the budget reservation of the creating call.

        The object has ended. Its own flag ``background`` decides if another process created it.
        """
        if not (background or identifier in self._awaited):
            return False, None
        claim = object()
        if self._billed.setdefault(identifier, claim) is not claim:
            return False, None
        self._trim()
        return True, self._awaited.pop(identifier, None)

    def clear(self) -> None:
        """Remove all ids."""
        self._awaited.clear()
        self._billed.clear()

    def _trim(self) -> None:
        for ids in (self._awaited, self._billed):
            if len(ids) > self._max_ids:
                # Evict many at once: with each removed entry it takes longer to find the oldest one.
                excess = len(ids) - self._max_ids + self._max_ids // 16
                with suppress(RuntimeError):  # another thread changes the dictionary, and trims it too
                    for identifier in list(islice(ids, excess)):
                        ids.pop(identifier, None)


_process = BackgroundUsage()
"""Process-wide registry. It survives ``uninstrument``, and a forked child inherits the ids."""


def forget() -> None:
    """Forget all ids of this process."""
    _process.clear()


def claim(identifier: str) -> bool:
    """Return True the first time that this process is about to bill ``identifier``."""
    return _process.claim(identifier, background=True)[0]


def assign_usage(call: CallState, response: Response) -> Response:
    """Return ``response``, without its usage if another call bills it.

    A creating call always keeps the usage it reports. A fetch keeps the usage once per process and id: when the object
    has ended, and either this process awaits its usage or the object is flagged as run in the background.
    """
    identifier = call.start.request.response_id or response.id
    if call.start.request.operation != FETCH:
        if identifier is not None:
            reservation = None if call.reservation is None else call.reservation.kept_for_fetch()
            _process.record_creation(identifier, reported=bool(response.usage), reservation=reservation)
        return response
    if identifier is not None and response.usage and response.finish_reasons:
        bills, reservation = _process.claim(identifier, background=response.background)
        if bills:
            call.reservation = reservation
            return response
    return replace(response, usage=None, stated_cost=None, additional_usage=())
