"""Enforcement of budgets: a reservation before each call and a settlement after it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import partial
from math import ceil
from typing import Any
from uuid import uuid4

from .._decimal import PICO
from .._process import after_fork
from ..model.call_stages import CallStart, FinishedCall
from ..pricing.money import UNIT, Amount
from ..pricing.price import Pricer, max_output_tokens
from .budget import Budget, BudgetExceeded, registered
from .remote_store import RemoteStore
from .stores import Balance, Claim, MemoryStore

_log = logging.getLogger("llmtrace")
_RETENTION_SECONDS = {
    "minute": 3_600,
    "hour": 2 * 86_400,
    "day": 3 * 86_400,
    "month": 40 * 86_400,
    "total": 3_650 * 86_400,
}
"""Seconds for which a store keeps a window, by ``Budget.per``: well beyond its end."""
_MAX_WARNED = 10_000
"""Maximum number of windows for which a warning is remembered."""

_memory = MemoryStore()
"""Store of this process. Its spending survives ``uninstrument`` and a new ``instrument``."""
after_fork(_memory.forked)


def forget_spending() -> None:
    """Remove all windows that are stored in the memory of this process."""
    _memory.clear()


@dataclass(slots=True)
class BudgetWindow:
    """One window that a call counts in."""

    budget: Budget
    share: str
    """Value of the key ``budget.by``; empty without one."""
    label: str
    """Name of the window, such as ``2026-01-31``."""
    claim: Claim
    spent: int | None = None
    """Amount spent in the window; ``None`` until the store has responded."""
    action: str = "allow"
    """Decision for this call: ``allow``, ``warn`` or ``block``."""


@dataclass(slots=True)
class Reservation:
    """The windows that a call counts in, and the amounts that it holds in them."""

    windows: list[BudgetWindow] = field(default_factory=list)
    call: str = field(default_factory=lambda: uuid4().hex)
    """Id of the call in the store."""
    held: bool = False
    """True if the amounts were reserved before the request was sent."""

    @property
    def stored(self) -> list[BudgetWindow]:
        """The windows that a store keeps: all but those of budgets per call."""
        return [window for window in self.windows if window.budget.per != "call"]

    def kept_for_fetch(self) -> Reservation:
        """Return a copy, which a later fetch of the response settles."""
        return Reservation([replace(window) for window in self.windows], self.call, self.held)

    @property
    def tightest(self) -> BudgetWindow | None:
        """The window for the span: a blocking one, else a warning one, else that nearest to its limit."""
        order = {"block": 2, "warn": 1}
        return max(
            self.windows,
            key=lambda window: (
                order.get(window.action, 0),
                (window.spent or 0) / window.budget.limit if window.budget.limit else 1.0,
            ),
            default=None,
        )


class PendingVerdict:
    """The decision about a call while a shared store has not responded."""

    __slots__ = ("_decide", "_future", "_store")

    def __init__(self, store: RemoteStore, future: Future[Any], decide: Callable[[Any], BudgetExceeded | None]) -> None:
        self._store = store
        self._future = future
        self._decide = decide

    def wait(self) -> BudgetExceeded | None:
        """Wait up to half a second for the store; return the error to raise, or ``None`` if the call is allowed."""
        return self._decide(self._store.wait(self._future))

    async def wait_async(self) -> BudgetExceeded | None:
        """Wait like ``wait``, without blocking the event loop."""
        return self._decide(await self._store.wait_async(self._future))


class BudgetEnforcer:
    """The enforcement of the configured budgets and of those registered with ``budget()``."""

    def __init__(self, pricer: Pricer, configured: Mapping[str, Budget], store: RemoteStore | None = None) -> None:
        self._pricer = pricer
        self._configured = dict(configured)
        self._store: MemoryStore | RemoteStore = _memory if store is None else store
        self._registered: Mapping[str, Budget] | None = None
        self._all: tuple[Budget, ...] = ()
        self._blocking = False
        self._warned: dict[str, None] = {}

    def _refresh(self) -> None:
        if (budgets := registered()) is self._registered:
            return
        self._all = tuple({**self._configured, **budgets}.values())
        self._blocking = any(budget.action == "block" for budget in self._all)
        self._registered = budgets

    def forget(self) -> None:
        """Drop the record of warnings, so that each window can warn again."""
        self._warned.clear()

    def drain(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until all spending is stored; return False if some is not."""
        return self._store.drain(timeout)

    def admit(self, call: CallStart) -> tuple[Reservation | None, BudgetExceeded | PendingVerdict | None]:
        """Reserve the maximum cost of a call before its request is sent, if a budget may refuse it.

        Returns:
            What is reserved, and the verdict: ``None`` if the call is allowed, the error to raise if it is refused, or
            a verdict to wait for.
        """
        self._refresh()
        if not self._blocking:
            return None, None
        windows = self._windows_for(call)
        if not any(window.budget.action == "block" for window in windows):
            return None, None
        reservation = Reservation(windows, held=True)
        return reservation, self._reserve(reservation)

    def count(self, call: CallStart) -> Reservation | None:
        """Return the windows that a call counts in which reserved nothing; ``None`` if there are none."""
        self._refresh()
        if not self._all:
            return None
        windows = self._windows_for(call)
        return Reservation(windows) if windows else None

    def _reserve(self, reservation: Reservation) -> BudgetExceeded | PendingVerdict | None:
        for window in reservation.windows:
            if (
                window.budget.per == "call"
                and window.budget.action == "block"
                and window.claim.amount > window.claim.limit
            ):
                return _exceeded(window, Balance(0, 0))
        stored = reservation.stored
        if not stored:
            return None
        try:
            result = self._store.reserve(reservation.call, [window.claim for window in stored])
        except Exception as error:
            return self._decide(reservation, error)
        if isinstance(result, Future) and isinstance(self._store, RemoteStore):
            return PendingVerdict(self._store, result, partial(self._decide, reservation))
        return self._decide(reservation, result)

    def _decide(self, reservation: Reservation, result: Any) -> BudgetExceeded | None:
        """Return the error that refuses a call, by the result of the store, which may be an exception."""
        stored = reservation.stored
        if isinstance(result, Exception):
            return self._decide_without_store(reservation)
        for window, balance in zip(stored, result.balances, strict=True):
            window.spent = sum(balance)
        return None if result.refused < 0 else _exceeded(stored[result.refused], result.balances[result.refused])

    def _decide_without_store(self, reservation: Reservation) -> BudgetExceeded | None:
        stored = reservation.stored
        for window in stored:
            if window.budget.action == "block" and window.budget.on_store_error == "closed":
                window.action = "block"
                # Release the reservation: the store may have received it, or may receive it later.
                self._store.settle(reservation.call, [other.claim for other in stored], [0] * len(stored))
                reason = (
                    f"budget {window.budget.name!r}: its store cannot be reached; the call was refused because "
                    "on_store_error is 'closed'"
                )
                return BudgetExceeded(window.budget, window.label, 0.0, share=window.share, reason=reason)
        return None

    def settle(self, call: FinishedCall) -> None:
        """Record the cost of a call that has ended, in place of its reservation."""
        reservation = call.reservation
        if reservation is None or call.outcome == "blocked":
            return
        awaits_usage = call.request.background and not call.response.usage and not call.refused
        if reservation.held and awaits_usage and call.outcome != "error":
            return  # Keep the reservation: the fetch that reports the usage settles it.
        for window in reservation.windows:
            if window.budget.per == "call":
                window.spent = _spent(call, window)
                self._warn_if_exceeded(window)
        stored = reservation.stored
        if stored:
            self._record(reservation.call, stored, [_spent(call, window) for window in stored])

    def _record(self, call: str, windows: list[BudgetWindow], spent: list[int]) -> None:
        result = self._store.settle(call, [window.claim for window in windows], spent)
        if not isinstance(result, Future):
            self._apply_totals(windows, result)
        elif result.done():
            self._apply_totals(windows, result.result())
        else:
            # Warn later, on copies: the span is written before the store responds, without the amount spent.
            copies = [replace(window) for window in windows]
            result.add_done_callback(lambda done: self._apply_totals(copies, done.result()))

    def _apply_totals(self, windows: list[BudgetWindow], totals: Any) -> None:
        if isinstance(totals, Exception):
            return
        for window, amount in zip(windows, totals, strict=True):
            window.spent = amount
            self._warn_if_exceeded(window)

    def _warn_if_exceeded(self, window: BudgetWindow) -> None:
        if window.spent is None or window.spent <= window.claim.limit:
            return
        window.action = "warn"
        if window.claim.key in self._warned and window.budget.per != "call":
            return
        self._warned[window.claim.key] = None
        if len(self._warned) > _MAX_WARNED:
            self._warned.pop(next(iter(self._warned)))
        spent = window.budget.describe_amount(window.spent)
        _log.warning("%s", BudgetExceeded(window.budget, window.label, spent, share=window.share))
        if window.budget.callback is not None:
            try:
                window.budget.callback(window.budget, spent)
            except Exception:
                _log.warning("the callback of budget %r failed", window.budget.name, exc_info=True)

    def _windows_for(self, call: CallStart) -> list[BudgetWindow]:
        at = call.started_ns / 1e9
        windows = []
        for budget in self._all:
            if budget.match and not _matches(budget.match, call):
                continue
            amount = self._max_amount(budget, call)
            label = budget.window(at)
            for share in _values(budget.by, call) if budget.by else ("",):
                claim = Claim(
                    key=f"{budget.name}:{share}:{label}",
                    limit=budget.limit,
                    amount=amount,
                    seconds=_RETENTION_SECONDS.get(budget.per, 0),
                    blocking=budget.action == "block",
                )
                windows.append(BudgetWindow(budget, share, label, claim))
        return windows

    def _max_amount(self, budget: Budget, call: CallStart) -> int:
        """Return the maximum amount of ``budget`` that the response may use, by the output limit of the request."""
        if budget.action != "block" or call.request.operation in ("count_tokens", "fetch_response"):
            return 0
        if budget.tokens is not None:
            return max_output_tokens(call.request)
        host = None if call.server is None else call.server[0]
        return _to_pico(self._pricer.max_cost(call.provider, host, call.request))


def _exceeded(window: BudgetWindow, balance: Balance) -> BudgetExceeded:
    window.action = "block"
    window.spent = sum(balance)
    describe = window.budget.describe_amount
    return BudgetExceeded(
        window.budget,
        window.label,
        describe(window.spent),
        share=window.share,
        reserved=describe(balance.reserved),
        call_cost=describe(window.claim.amount),
    )


def _to_pico(money: Amount) -> int:
    return ceil(Fraction(money) * PICO / UNIT)


def _spent(call: FinishedCall, window: BudgetWindow) -> int:
    """Return the amount that a call spent: the larger of the reported and the estimated, or else the reserved one."""
    reported, final = _reported(call, window.budget)
    if final:
        return reported
    if call.refused and not reported:
        return 0
    estimated = _estimated(call, window.budget)
    # Do not trust the report of a broken stream alone: it may not contain the output yet.
    return max(reported, window.claim.amount if estimated is None else estimated)


def _reported(call: FinishedCall, budget: Budget) -> tuple[int, bool]:
    """Return the amount that the provider reported, and true if the report is complete."""
    if budget.tokens is not None:
        counts = call.response.usage or {}
        total = int(counts.get("input", 0) + counts.get("output", 0))
        return total, not call.ended_early and ("input" in counts or "output" in counts)
    priced = call.priced
    if priced is None or priced.reason not in (None, "partial_usage"):
        return 0, False
    return _to_pico(priced.units), not call.ended_early and priced.reason is None


def _estimated(call: FinishedCall, budget: Budget) -> int | None:
    estimate = call.estimate
    if estimate is None or estimate.output is None:
        return None
    if not estimate.output and (call.ended_early or call.outcome != "ok"):
        # Broken before the first word: the provider may have generated any part of the response.
        return None
    if budget.tokens is not None:
        return estimate.input + estimate.output
    return None if estimate.usd is None else ceil(Fraction(estimate.usd) * PICO)


def _values(name: str, call: CallStart) -> tuple[str, ...]:
    """Return the values of a call for the key ``name``; one empty string if it has none."""
    context = call.call_context
    if name in ("feature", "user", "session", "tenant"):
        return (getattr(context, name) or "",)
    if name == "tag":
        return context.tags or ("",)
    if name == "model":
        return (call.request.model or "",)
    if name == "provider":
        return (call.provider,)
    if name == "operation":
        return (call.request.operation,)
    return (str(context.metadata.get(name, "")),)


def _matches(match: Mapping[str, str], call: CallStart) -> bool:
    # A call without a value for a key matches no glob, not even ``*``.
    return all(
        any(value == pattern or (value and fnmatchcase(value, pattern)) for value in _values(name, call))
        for name, pattern in match.items()
    )
