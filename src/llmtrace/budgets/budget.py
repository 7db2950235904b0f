"""Spending limits: what a call may cost is asked before it leaves, what it did cost is noted when it has ended."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from .._decimal import PICO, parse
from .._settings import ConfigError

__all__ = ["PICO", "Budget", "BudgetExceeded", "budget", "forget", "read", "register", "registered"]

_MOST_TOKENS = 2**48
_PERIODS = ("call", "minute", "hour", "day", "month", "total")
_ACTIONS = ("warn", "block")
_ON_STORE_ERROR = ("open", "closed")
_FIELDS = ("name", "usd", "tokens", "per", "by", "match", "action", "on_store_error")
_STARTS = {"minute": "%Y-%m-%dT%H:%MZ", "hour": "%Y-%m-%dT%HZ", "day": "%Y-%m-%d", "month": "%Y-%m"}


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit in USD or in tokens on the calls that match, for each share in each window of time.

    Raises:
        ConfigError: A field has a value that means nothing.
    """

    name: str
    usd: Decimal | None = None
    tokens: int | None = None
    per: str = "day"
    """``call``, ``minute``, ``hour``, ``day``, ``month`` or ``total``; windows start in UTC."""
    by: str | None = None
    """Each value has its own share: ``feature``, ``user``, ``session``, ``tenant``, ``tag``, ``model``, or a key of the
    metadata. ``None``: one for all."""
    match: Mapping[str, str] = field(default_factory=dict)
    """Only calls with these values (globs) count. Keys as for ``by``, and ``provider`` and ``operation``."""
    action: str = "warn"
    """``warn``, or ``block``: raise ``BudgetExceeded`` before the request leaves."""
    on_store_error: str = "open"
    """While the store cannot be reached calls go through (``open``) or, with ``block``, are refused (``closed``)."""
    callback: Callable[[Budget, float], object] | None = field(default=None, compare=False)
    """Called once per window and share when the limit is passed, with the budget and what was spent."""

    def __post_init__(self) -> None:
        place = f"budget {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"budget: name={self.name!r} is not accepted; use text")
        if (self.usd is None) == (self.tokens is None):
            raise ConfigError(f"{place}: use either usd or tokens")
        object.__setattr__(self, "usd", _usd(self.usd, place))
        if self.tokens is not None and (type(self.tokens) is not int or not 0 <= self.tokens <= _MOST_TOKENS):
            raise ConfigError(f"{place}: tokens={self.tokens!r} is not accepted; use a whole number from 0 to 2**48")
        for name, words in (("per", _PERIODS), ("action", _ACTIONS), ("on_store_error", _ON_STORE_ERROR)):
            if getattr(self, name) not in words:
                raise ConfigError(f"{place}: {name}={getattr(self, name)!r} is not accepted; use {', '.join(words)}")
        if self.by is not None and (not isinstance(self.by, str) or not self.by):
            raise ConfigError(f"{place}: by={self.by!r} is not accepted; use feature, user, ... or leave it out")
        if not isinstance(self.match, Mapping) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in self.match.items()
        ):
            raise ConfigError(f"{place}: match={self.match!r} is not accepted; use a table of texts")
        if self.callback is not None and not callable(self.callback):
            raise ConfigError(f"{place}: callback={self.callback!r} is not accepted; use a function")

    @property
    def limit(self) -> int:
        """In whole numbers: tokens, or millionths of a millionth of a USD."""
        return self.tokens if self.tokens is not None else int(Fraction(self.usd or 0) * PICO)

    def window(self, at: float) -> str:
        """The window that ``at`` (seconds since 1970) is in."""
        form = _STARTS.get(self.per)
        return self.per if form is None else datetime.fromtimestamp(at, UTC).strftime(form)

    def describe_amount(self, amount: int) -> float:
        """An amount in the budget's own measure."""
        return amount if self.tokens is not None else amount / PICO

    def remove(self) -> None:
        """Take the budget back: it limits no later call.

        Does nothing if another budget of the same name has replaced it, or if it was never registered. What was spent
        stays recorded, and counts again when a budget of the same name is registered.
        """
        register({name: each for name, each in _registered.items() if each is not self})


class BudgetExceeded(Exception):
    """A budget does not allow the call. Nothing was sent."""

    def __init__(
        self,
        budget: Budget,
        window: str,
        spent: float,
        *,
        share: str = "",
        reason: str = "",
        reserved: float = 0,
        call_cost: float | None = None,
    ) -> None:
        self.budget = budget
        self.window = window
        self.share = share
        self.spent = spent
        """In the budget's own measure, with what calls under way may still spend."""
        self.reserved = reserved
        """How much of ``spent`` is reserved by calls under way."""
        self.call_cost = call_cost
        """The most that this call could cost by the limit it states; ``None`` in a warning."""
        super().__init__(reason or _refusal_text(self))

    def __reduce__(self) -> Any:
        # Worker processes send their exceptions home; the callback, which may be any function, stays.
        budget = replace(self.budget, callback=None)
        state = {"reserved": self.reserved, "call_cost": self.call_cost}
        return _restore_exceeded, (budget, self.window, self.spent, self.share, str(self)), state


BudgetExceeded.__module__ = "llmtrace"  # its public home, which is what ``error.type`` says


def _refusal_text(refusal: BudgetExceeded) -> str:
    budget, unit = refusal.budget, "USD" if refusal.budget.tokens is None else "tokens"
    limit = f"{_plain(budget.describe_amount(budget.limit))} {unit}"
    share = f" of {budget.by} {refusal.share!r}" if budget.by else ""
    place = f"budget {budget.name!r}{share} ({refusal.window})"
    if refusal.call_cost is None:
        return f"{place}: {_plain(refusal.spent)} of {limit} are spent"
    cost = f"this call could cost {_plain(refusal.call_cost)} {unit}"
    if budget.per == "call":
        return f"{place}: {cost}, more than the limit of {limit}"
    spent = _plain(round(refusal.spent - refusal.reserved, 12))
    return (
        f"{place}: {_plain(refusal.spent)} of {limit} are spent or reserved "
        f"({spent} spent, {_plain(refusal.reserved)} reserved by calls under way); {cost}"
    )


def _plain(amount: float) -> str:
    """Return an amount as decimal digits, without an exponent."""
    digits = f"{parse(repr(amount)):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def _restore_exceeded(budget: Budget, window: str, spent: float, share: str, reason: str) -> BudgetExceeded:
    return BudgetExceeded(budget, window, spent, share=share, reason=reason)


_registered: dict[str, Budget] = {}


def registered() -> dict[str, Budget]:
    """The budgets made by ``budget``, by name. Replaced, not changed, when there is a new one."""
    return _registered


def register(budgets: dict[str, Budget]) -> None:
    """Put ``budgets`` in place of all those registered."""
    global _registered  # noqa: PLW0603 - one set of budgets for the process
    _registered = budgets


def forget() -> None:
    """Drop all of them."""
    register({})


def budget(  # noqa: PLR0913 - the public face
    name: str,
    *,
    usd: Decimal | str | int | float | None = None,
    tokens: int | None = None,
    per: str = "day",
    by: str | None = None,
    match: Mapping[str, str] | None = None,
    action: str = "warn",
    on_store_error: str = "open",
    callback: Callable[[Budget, float], object] | None = None,
) -> Budget:
    """Limit what calls may cost, from now on. The same name replaces; ``Budget.remove`` takes it back.

    Args:
        name: What logs, spans and errors call it.
        usd: The limit; text or ``Decimal`` keeps it exact.
        tokens: The limit in tokens, in place of ``usd``.
        per: ``call``, ``minute``, ``hour``, ``day``, ``month`` or ``total``; windows start in UTC.
        by: Each value has its own share: ``feature``, ``user``, ``session``, ``tenant``, ``tag``, ``model``, a key of
            the metadata. By default one budget for all.
        match: Only calls with these values (globs) count.
        action: ``warn``, or ``block``: raise ``BudgetExceeded`` before the request leaves.
        on_store_error: ``open``, or ``closed``: refuse calls while the store cannot be reached.
        callback: Called once per window and share when the limit is passed.

    Raises:
        ConfigError: An argument has a value that means nothing.
    """
    made = Budget(
        name=name,
        usd=usd,  # type: ignore[arg-type] # made exact by the class
        tokens=tokens,
        per=per,
        by=by,
        match=match or {},
        action=action,
        on_store_error=on_store_error,
        callback=callback,
    )
    register({**_registered, name: made})
    return made


def read(budgets: object, setting: str = "LLMTRACE_BUDGETS") -> dict[str, Budget]:
    """The budgets of a TOML file, or of a list, by name.

    Raises:
        ConfigError: Something in it means nothing.
    """
    if budgets is None or budgets == "":
        return {}
    entries: Any = budgets
    if isinstance(budgets, (str, os.PathLike)):
        path = Path(budgets)
        try:
            found = tomllib.loads(path.expanduser().read_text(encoding="utf-8"), parse_float=parse)
        except (OSError, ValueError, RuntimeError, ArithmeticError) as error:
            # A ``RuntimeError`` is an unknown home directory, or deep nesting; an ``ArithmeticError`` an absurd number.
            raise ConfigError(f"{setting}={str(path)!r} cannot be read as TOML: {error}") from None
        if set(found) - {"budget"} or not isinstance(found.get("budget"), list):
            raise ConfigError(f"{setting}: unknown {sorted(set(found) - {'budget'})}; use [[budget]] tables")
        entries = found["budget"]
    if not isinstance(entries, Iterable) or isinstance(entries, (str, bytes, Mapping)):
        raise ConfigError(f"{setting}={entries!r} is not accepted; use a path or a list of Budget")
    made = [_parse_budget(entry, f"{setting}, entry {number}") for number, entry in enumerate(entries, 1)]
    return {each.name: each for each in made}


def _parse_budget(entry: object, place: str) -> Budget:
    if isinstance(entry, Budget):
        return entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place}: {entry!r} is not accepted; use a table with {', '.join(_FIELDS)}")
    for key in entry:
        if key not in _FIELDS:
            raise ConfigError(f"{place}: unknown field {key!r}; accepted: {', '.join(_FIELDS)}")
    if "name" not in entry:
        raise ConfigError(f"{place}: field 'name' is missing; use text")
    try:
        return Budget(**entry)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error}") from None


def _usd(value: object, place: str) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ArithmeticError
        number = parse(str(value).strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or number > 9_000_000:
        raise ConfigError(f'{place}: usd={value!r} is not accepted; use an amount from 0 to 9000000 such as "5.00"')
    return number
