"""Budgets at work: asked before each call, told after it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any, Protocol
from uuid import uuid4

from ..model import CallContext, Request, Response
from ..pricing.estimates import Estimate
from ..pricing.money import UNIT, Amount, PricedCall
from ..pricing.price import Pricer, max_output_tokens
from .budget import PICO, Budget, BudgetExceeded, registered
from .remote_store import RemoteStore
from .stores import Balance, BudgetStore, Claim, MemoryStore

__all__ = ["BudgetEnforcer", "PendingVerdict", "Reservation", "forget_spending"]

_log = logging.getLogger("llmtrace")
_RETENTION_SECONDS = {
    "minute": 3_600,
    "hour": 2 * 86_400,
    "day": 3 * 86_400,
    "month": 40 * 86_400,
    "total": 3_650 * 86_400,
}
"""Seconds for which a window is kept: well beyond its end."""
_WARNED = 10_000

_memory = MemoryStore()
"""Spending outlives ``uninstrument`` and ``instrument``."""
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_memory.forked)


def forget_spending() -> None:
    """Empty all windows that are kept in this process."""
    _memory.clear()


class StartedCall(Protocol):
    """What is needed of a call under way."""

    call_context: CallContext
    request: Request
    provider: str
    server: tuple[str, int] | None
    started_ns: int
    response: Response
    outcome: str
    estimate: Estimate | None
    reservation: Any

    @property
    def priced(self) -> PricedCall | None: ...

    @property
    def ended_early(self) -> bool:
        """True if a stream ended before its end: what it reported is a beginning."""

    @property
    def refused(self) -> bool:
        """True if the provider did no work."""


@dataclass(slots=True)
class BudgetWindow:
    """One window that a call counts in."""

    budget: Budget
    share: str
    window: str
    claim: Claim
    spent: int | None = None
    """``None`` while the store has not answered."""
    action: str = "allow"


@dataclass(slots=True)
class Reservation:
    """The windows that a call counts in, and where they stand after it."""

    parts: list[BudgetWindow] = field(default_factory=list)
    call: str = field(default_factory=lambda: uuid4().hex)
    """What the store knows the call by."""

    @property
    def kept(self) -> list[BudgetWindow]:
        """The parts that a store keeps."""
        return [part for part in self.parts if part.budget.per != "call"]

    def kept_for_fetch(self) -> Reservation:
        """Return a copy for the fetch that will settle it."""
        return Reservation([replace(part) for part in self.parts], self.call)

    @property
    def tightest(self) -> BudgetWindow | None:
        """The part that a span can say most of use about."""
        order = {"block": 2, "warn": 1}
        return max(
            self.parts,
            key=lambda part: (
                order.get(part.action, 0),
                (part.spent or 0) / part.budget.limit if part.budget.limit else 1.0,
            ),
            default=None,
        )


class PendingVerdict:
    """A verdict on a call that waits for a shared store."""

    __slots__ = ("_answer", "_decide", "_store")

    def __init__(self, store: RemoteStore, answer: Future[Any], decide: Callable[[Any], BudgetExceeded | None]) -> None:
        self._store = store
        self._answer = answer
        self._decide = decide

    def wait(self) -> BudgetExceeded | None:
        """Block until the store has answered, or for half a second."""
        return self._decide(self._store.wait(self._answer))

    async def wait_async(self) -> BudgetExceeded | None:
        """Wait as long without blocking the event loop."""
        return self._decide(await self._store.wait_async(self._answer))


class BudgetEnforcer:
    """The budgets in force, of the settings and of ``budget()``."""

    def __init__(self, pricer: Pricer, configured: Mapping[str, Budget], store: BudgetStore | None = None) -> None:
        self._pricer = pricer
        self._configured = dict(configured)
        self._store: BudgetStore = _memory if store is None else store
        self._registered: Mapping[str, Budget] | None = None
        self._all: tuple[Budget, ...] = ()
        self._blocking = False
        self._warned: dict[str, None] = {}

    def _refresh(self) -> None:
        found = registered()
        self._all = tuple({**self._configured, **found}.values())
        self._blocking = any(budget.action == "block" for budget in self._all)
        self._registered = found

    def forget(self) -> None:
        """Forget which budgets have warned."""
        self._warned.clear()

    def drain(self, timeout: float) -> bool:
        """Wait until the store knows all that was spent; return False if it does not."""
        return self._store.drain(timeout)

    def admit(self, call: StartedCall) -> BudgetExceeded | PendingVerdict | None:
        """Reserve what the call may cost at most. What is returned stands against it."""
        if registered() is not self._registered:
            self._refresh()
        if not self._blocking:
            return None
        parts = self._windows_for(call)
        if not any(part.budget.action == "block" for part in parts):
            return None
        made = call.reservation = Reservation(parts)
        return self._reserve(made)

    def _reserve(self, made: Reservation) -> BudgetExceeded | PendingVerdict | None:
        for part in made.parts:
            if part.budget.per == "call" and part.budget.action == "block" and part.claim.amount > part.claim.limit:
                return _exceeded(part, Balance(0, 0))
        kept = made.kept
        if not kept:
            return None
        try:
            answer = self._store.reserve(made.call, [part.claim for part in kept])
        except Exception as error:
            return self._decide(made, error)
        if isinstance(answer, Future) and isinstance(self._store, RemoteStore):
            return PendingVerdict(self._store, answer, partial(self._decide, made))
        return self._decide(made, answer)

    def _decide(self, made: Reservation, answer: Any) -> BudgetExceeded | None:
        """Return what stands against a call by the answer of the store, which may be an exception."""
        kept = made.kept
        if isinstance(answer, Exception):
            return self._store_down(made)
        for part, balance in zip(kept, answer.balances, strict=True):
            part.spent = sum(balance)
        return None if answer.refused < 0 else _exceeded(kept[answer.refused], answer.balances[answer.refused])

    def _store_down(self, made: Reservation) -> BudgetExceeded | None:
        kept = made.kept
        for part in kept:
            if part.budget.action == "block" and part.budget.on_store_error == "closed":
                part.action = "block"
                # The store may have made the reservation, and may be about to: either is taken back.
                self._store.settle(made.call, [each.claim for each in kept], [0] * len(kept))
                why = f"budget {part.budget.name!r}: its store cannot be reached"
                return BudgetExceeded(part.budget, part.window, 0.0, share=part.share, reason=why)
        return None

    def settle(self, call: StartedCall) -> None:
        """Record what the call cost, in place of what was reserved."""
        if registered() is not self._registered:
            self._refresh()
        made: Reservation | None = call.reservation
        if not (self._all or made) or call.outcome == "blocked":
            return
        if made is None:
            parts = self._windows_for(call)
            if not parts:
                return
            made = call.reservation = Reservation(parts)
        elif call.request.background and not call.response.usage and call.outcome != "error":
            return  # the fetch that reports the usage settles what is reserved here
        for part in made.parts:
            if part.budget.per == "call":
                part.spent = _spent(call, part)
                self._log_action(part)
        kept = made.kept
        if kept:
            self._record(made.call, kept, [_spent(call, part) for part in kept])

    def _record(self, call: str, parts: list[BudgetWindow], spent: list[int]) -> None:
        answer = self._store.settle(call, [part.claim for part in parts], spent)
        if not isinstance(answer, Future):
            self._judge_all(parts, answer)
        elif answer.done():
            self._judge_all(parts, answer.result())
        else:
            # The span is written by then: what was spent is missing there, a warning comes later.
            copies = [replace(part) for part in parts]
            answer.add_done_callback(lambda done: self._judge_all(copies, done.result()))

    def _judge_all(self, parts: list[BudgetWindow], sums: Any) -> None:
        if isinstance(sums, Exception):
            return
        for part, amount in zip(parts, sums, strict=True):
            part.spent = amount
            self._log_action(part)

    def _log_action(self, part: BudgetWindow) -> None:
        if part.spent is None or part.spent <= part.claim.limit:
            return
        part.action = "warn"
        if part.claim.key in self._warned and part.budget.per != "call":
            return
        self._warned[part.claim.key] = None
        if len(self._warned) > _WARNED:
            self._warned.pop(next(iter(self._warned)))
        spent = part.budget.describe_amount(part.spent)
        _log.warning("%s", BudgetExceeded(part.budget, part.window, spent, share=part.share))
        if part.budget.callback is not None:
            try:
                part.budget.callback(part.budget, spent)
            except Exception:
                _log.warning("the callback of budget %r failed", part.budget.name, exc_info=True)

    def _windows_for(self, call: StartedCall) -> list[BudgetWindow]:
        at = call.started_ns / 1e9
        found = []
        for budget in self._all:
            if budget.match and not _matches(budget.match, call):
                continue
            amount = self._max_amount(budget, call)
            window = budget.window(at)
            for share in _values(budget.by, call) if budget.by else ("",):
                claim = Claim(
                    key=f"{budget.name}:{share}:{window}",
                    limit=budget.limit,
                    amount=amount,
                    seconds=_RETENTION_SECONDS.get(budget.per, 0),
                    blocking=budget.action == "block",
                )
                found.append(BudgetWindow(budget, share, window, claim))
        return found

    def _max_amount(self, budget: Budget, call: StartedCall) -> int:
        """The most that the answer may take of ``budget``, by the limit that the request states."""
        if budget.action != "block" or call.request.operation in ("count_tokens", "fetch_response"):
            return 0
        if budget.tokens is not None:
            return max_output_tokens(call.request)
        host = None if call.server is None else call.server[0]
        return _pico(self._pricer.max_cost(call.provider, host, call.request))


def _exceeded(part: BudgetWindow, balance: Balance) -> BudgetExceeded:
    part.action = "block"
    part.spent = sum(balance)
    told = part.budget.describe_amount
    return BudgetExceeded(
        part.budget,
        part.window,
        told(part.spent),
        share=part.share,
        reserved=told(balance.reserved),
        call_cost=told(part.claim.amount),
    )


def _pico(money: Amount) -> int:
    return ceil(Fraction(money) * PICO / UNIT)


def _spent(call: StartedCall, part: BudgetWindow) -> int:
    """Return the larger of what was reported and what is estimated; where neither says it, what was reserved."""
    reported, final = _reported(call, part.budget)
    if final:
        return reported
    if call.refused and not reported:
        return 0
    estimated = _estimated(call, part.budget)
    # What a broken stream has reported is a beginning: of the output it may say nothing yet.
    return max(reported, part.claim.amount if estimated is None else estimated)


def _reported(call: StartedCall, budget: Budget) -> tuple[int, bool]:
    """Return what the provider reported, and whether that is all."""
    if budget.tokens is not None:
        counts = call.response.usage or {}
        total = int(counts.get("input", 0) + counts.get("output", 0))
        return total, not call.ended_early and ("input" in counts or "output" in counts)
    priced = call.priced
    if priced is None or priced.reason not in (None, "partial_usage"):
        return 0, False
    return _pico(priced.units), not call.ended_early and priced.reason is None


def _estimated(call: StartedCall, budget: Budget) -> int | None:
    guess = call.estimate
    if guess is None or guess.output is None:
        return None
    if not guess.output and (call.ended_early or call.outcome != "ok"):
        return None  # broken before the first word: how much was made of the answer is not known
    if budget.tokens is not None:
        return guess.input + guess.output
    return None if guess.usd is None else ceil(Fraction(guess.usd) * PICO)


def _values(name: str, call: StartedCall) -> tuple[str, ...]:
    """What a call says under ``name``; one empty text where it says nothing."""
    scope = call.call_context
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


def _matches(match: Mapping[str, str], call: StartedCall) -> bool:
    # What says nothing under a key matches no glob, not even ``*``.
    return all(
        any(value == wanted or (value and fnmatchcase(value, wanted)) for value in _values(name, call))
        for name, wanted in match.items()
    )
