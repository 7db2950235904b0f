"""Budgets at work: asked before each call, told after it."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from math import ceil
from time import monotonic
from typing import Any, Protocol

from ..facts import Request, Response, Scope
from .budget import PICO, Budget, BudgetExceeded, registered
from .money import UNIT, Amount, Priced
from .price import Pricer, longest
from .stores import Claim, MemoryStore, Store

__all__ = ["Budgets", "Reservation"]

_log = logging.getLogger("llmtrace")
_KEPT = {"minute": 3_600, "hour": 2 * 86_400, "day": 3 * 86_400, "month": 40 * 86_400, "total": 3_650 * 86_400}
"""Seconds for which a window is kept: well beyond its end."""
_PAUSE = 5.0
"""Seconds in which a store that could not be reached is not asked again: a call must not wait for it each time."""
_OWED = 10_000
"""Calls whose spending is kept for a store that cannot be reached; beyond it the oldest are forgotten."""
_AT_ONCE = 10
"""Of these, how many one call tells: it must not wait long."""
_WARNED = 10_000

_memory = MemoryStore()
"""Spending outlives ``uninstrument`` and ``instrument``."""
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_memory.forked)


class Asking(Protocol):
    """What is needed of a call under way."""

    scope: Scope
    request: Request
    provider: str
    server: tuple[str, int] | None
    started_ns: int
    answer: Response
    outcome: str
    reservation: Any

    @property
    def priced(self) -> Priced | None: ...


@dataclass(slots=True)
class Part:
    """One window that a call counts in."""

    budget: Budget
    share: str
    window: str
    claim: Claim
    spent: int = 0
    action: str = "allow"


@dataclass(slots=True)
class Reservation:
    """What a call has been granted, and after it, where its budgets stand."""

    parts: list[Part] = field(default_factory=list)
    reserved: bool = False

    def kept_for_fetch(self) -> Reservation | None:
        """Return a copy for the fetch that will settle it; ``None`` where nothing is reserved."""
        return Reservation([replace(part) for part in self.parts], reserved=True) if self.reserved else None

    @property
    def tightest(self) -> Part | None:
        """The part that a span can say most of use about."""
        order = {"block": 2, "warn": 1}
        return max(
            self.parts,
            key=lambda part: (order.get(part.action, 0), part.spent / part.budget.limit if part.budget.limit else 1.0),
            default=None,
        )


class Budgets:
    """The budgets in force, of the settings and of ``budget()``."""

    def __init__(self, pricer: Pricer, configured: Mapping[str, Budget], store: Store | None = None) -> None:
        self._pricer = pricer
        self._configured = dict(configured)
        self._store: Store = _memory if store is None else store
        self._registered: Mapping[str, Budget] | None = None
        self._all: tuple[Budget, ...] = ()
        self._blocking = False
        self._down_until = 0.0
        self._owed: deque[tuple[list[Claim], list[int]]] = deque(maxlen=_OWED)
        """What was spent and the store does not know yet, the latest last."""
        self._warned: dict[str, None] = {}

    def _refresh(self) -> None:
        found = registered()
        self._all = tuple({**self._configured, **found}.values())
        self._blocking = any(budget.action == "block" for budget in self._all)
        self._registered = found

    def admit(self, call: Asking) -> BudgetExceeded | None:
        """Reserve what the call may cost at most. What is returned stands against it."""
        if registered() is not self._registered:
            self._refresh()
        if not self._blocking:
            return None
        parts = [part for part in self._parts(call) if part.budget.action == "block"]
        if not parts:
            return None
        made = call.reservation = Reservation(self._parts(call))
        return self._reserve(made)

    def _reserve(self, made: Reservation) -> BudgetExceeded | None:
        for part in made.parts:
            if part.budget.per == "call" and part.budget.action == "block" and part.claim.amount > part.claim.limit:
                return _refused(part, part.claim.amount)
        kept = [part for part in made.parts if part.budget.per != "call"]
        if not kept:
            return None
        try:
            if monotonic() < self._down_until:
                raise ConnectionError("the budget store is down")
            refused, held = self._store.reserve([part.claim for part in kept])
        except Exception as error:
            return self._store_down(kept, error)
        for part, amount in zip(kept, held, strict=True):
            part.spent = amount
        if refused >= 0:
            return _refused(kept[refused], held[refused])
        made.reserved = True
        return None

    def _store_down(self, parts: list[Part], error: Exception) -> BudgetExceeded | None:
        if monotonic() >= self._down_until:
            if not self._down_until:
                _log.warning("llmtrace cannot reach the budget store (%s); budgets do not hold until it is back", error)
            self._down_until = monotonic() + _PAUSE
        for part in parts:
            if part.budget.action == "block" and part.budget.on_store_error == "closed":
                part.action = "block"
                why = f"budget {part.budget.name!r}: its store cannot be reached"
                return BudgetExceeded(part.budget, part.window, 0.0, share=part.share, reason=why)
        return None

    def settle(self, call: Asking) -> None:
        """Note what the call cost, in place of what was reserved."""
        if registered() is not self._registered:
            self._refresh()
        if not self._all:
            return
        made: Reservation | None = call.reservation
        if call.outcome == "blocked":
            return
        if made is None:
            parts = self._parts(call)
            if not parts:
                return
            made = call.reservation = Reservation(parts)
        elif made.reserved and call.request.background and not call.answer.usage and call.outcome != "error":
            return  # the fetch that reports the usage settles what is reserved here
        kept = [part for part in made.parts if part.budget.per != "call"]
        spent = [_spent(call, part, reserved=made.reserved) for part in kept]
        for part in made.parts:
            if part.budget.per == "call":
                part.spent = _spent(call, part, reserved=False)
                self._judge(part)
        if kept:
            self._note(kept, [part.claim if made.reserved else _unreserved(part.claim) for part in kept], spent)

    def _note(self, parts: list[Part], claims: list[Claim], spent: list[int]) -> None:
        """Have the store know what was spent, now or when it is back."""
        if monotonic() < self._down_until:
            self._owed.append((claims, spent))
            return
        try:
            sums = self._store.settle(claims, spent)
        except Exception as error:
            self._owed.append((claims, spent))
            self._store_down([], error)
            return
        self._down_until = 0.0
        for part, amount in zip(parts, sums, strict=True):
            part.spent = amount
            self._judge(part)
        if self._owed:
            self._pay()

    def _pay(self) -> None:
        """Tell the store some of what was spent while it could not be reached."""
        for _ in range(_AT_ONCE):
            try:
                owed = self._owed.pop()
            except IndexError:  # another thread has told it
                return
            try:
                self._store.settle(*owed)
            except Exception as error:
                self._owed.append(owed)
                self._store_down([], error)
                return

    def _judge(self, part: Part) -> None:
        if part.spent <= part.claim.limit:
            return
        part.action = "warn"
        if part.claim.key in self._warned and part.budget.per != "call":
            return
        self._warned[part.claim.key] = None
        if len(self._warned) > _WARNED:
            self._warned.pop(next(iter(self._warned)))
        spent = part.budget.told(part.spent)
        _log.warning("%s", BudgetExceeded(part.budget, part.window, spent, share=part.share))
        if part.budget.callback is not None:
            try:
                part.budget.callback(part.budget, spent)
            except Exception:
                _log.warning("the callback of budget %r failed", part.budget.name, exc_info=True)

    def _parts(self, call: Asking) -> list[Part]:
        at = call.started_ns / 1e9
        found = []
        for budget in self._all:
            if budget.match and not _matches(budget.match, call):
                continue
            amount = self._most(budget, call)
            window = budget.window(at)
            for share in _values(budget.by, call) if budget.by else ("",):
                claim = Claim(
                    key=f"{budget.name}:{share}:{window}",
                    limit=budget.limit,
                    amount=amount,
                    seconds=_KEPT.get(budget.per, 0),
                    blocking=budget.action == "block",
                )
                found.append(Part(budget, share, window, claim))
        return found

    def _most(self, budget: Budget, call: Asking) -> int:
        """The most that the answer may take of ``budget``, by the limit that the request states."""
        if budget.action != "block" or call.request.operation in ("count_tokens", "fetch_response"):
            return 0
        if budget.tokens is not None:
            return longest(call.request)
        host = None if call.server is None else call.server[0]
        return _pico(self._pricer.most(call.provider, host, call.request))


def _refused(part: Part, held: int) -> BudgetExceeded:
    part.action = "block"
    part.spent = held
    return BudgetExceeded(part.budget, part.window, part.budget.told(held), share=part.share)


def _unreserved(claim: Claim) -> Claim:
    return Claim(claim.key, claim.limit, 0, claim.seconds, claim.blocking)


def _pico(money: Amount) -> int:
    return ceil(Fraction(money) * PICO / UNIT)


def _spent(call: Asking, part: Part, *, reserved: bool) -> int:
    counts = call.answer.usage or {}
    priced = call.priced
    if part.budget.tokens is not None:
        if "input" in counts or "output" in counts:
            return int(counts.get("input", 0) + counts.get("output", 0))
    elif priced is not None and priced.reason is None:
        return _pico(priced.units)
    # What cannot be said is taken to be the most that it can be, where the provider may have worked at all.
    return part.claim.amount if reserved and call.outcome != "error" else 0


def _values(name: str, call: Asking) -> tuple[str, ...]:
    """What a call says under ``name``; one empty text where it says nothing."""
    scope = call.scope
    if name in ("feature", "user", "session", "tenant"):
        return (getattr(scope, name) or "",)
    if name == "tag":
        return scope.tags or ("",)
    if name == "model":
        return (call.request.model or "",)
    if name == "provider":
        return (call.provider,)
    if name == "operation":
        return (call.request.operation,)
    return (str(scope.metadata.get(name, "")),)


def _matches(match: Mapping[str, str], call: Asking) -> bool:
    # What says nothing under a key matches no glob, not even ``*``.
    return all(
        any(value == wanted or (value and fnmatchcase(value, wanted)) for value in _values(name, call))
        for name, wanted in match.items()
    )
