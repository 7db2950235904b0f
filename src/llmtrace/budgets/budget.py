"""Budgets: spending limits that are checked before each call and charged after it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from .._decimal import PICO, parse
from .._settings import ConfigError

_MAX_TOKENS = 2**48
_PERIODS = ("call", "minute", "hour", "day", "month", "total")
_ACTIONS = ("warn", "block")
_ON_STORE_ERROR = ("open", "closed")
_FIELDS = ("name", "usd", "tokens", "per", "by", "match", "action", "on_store_error")
_WINDOW_FORMATS = {"minute": "%Y-%m-%dT%H:%MZ", "hour": "%Y-%m-%dT%HZ", "day": "%Y-%m-%d", "month": "%Y-%m"}
"""Formats of ``strftime`` for the names of windows, by ``Budget.per``."""


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit, in USD or in tokens, on the calls that match, in each window of time.

    With ``by`` each of its values has a limit of its own, called a share.

    Raises:
        ConfigError: A field has an invalid value.
    """

    name: str
    """Name in logs, spans and errors. Two budgets with the same name are the same budget."""
    usd: Decimal | None = None
    """Limit in USD. Exactly one of ``usd`` and ``tokens`` is set."""
    tokens: int | None = None
    """Limit in tokens, input and output together."""
    per: str = "day"
    """Length of a window: ``call``, ``minute``, ``hour``, ``day``, ``month`` or ``total``; windows start in UTC."""
    by: str | None = None
    """Key whose values have a limit each: ``feature``, ``user``, ``session``, ``tenant``, ``tag``, ``model``, or a
    metadata key. ``None``: one limit for all calls."""
    match: Mapping[str, str] = field(default_factory=dict)
    """Globs that the values of a call must match for it to count. Keys as for ``by``, plus ``provider`` and
    ``operation``."""
    action: str = "warn"
    """Action above the limit: ``warn`` logs, ``block`` raises ``BudgetExceeded`` before the request is sent."""
    on_store_error: str = "open"
    """Behaviour while the store cannot be reached: ``open`` sends calls; ``closed``, with ``block``, refuses them."""
    callback: Callable[[Budget, float], object] | None = field(default=None, compare=False)
    """Function called once per window and share above the limit, with the budget and the amount spent."""

    def __post_init__(self) -> None:
        location = f"budget {self.name!r}"
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"budget: name={self.name!r} is not accepted; use text")
        if (self.usd is None) == (self.tokens is None):
            raise ConfigError(f"{location}: use either usd or tokens")
        object.__setattr__(self, "usd", _usd(self.usd, location))
        if self.tokens is not None and (type(self.tokens) is not int or not 0 <= self.tokens <= _MAX_TOKENS):
            raise ConfigError(f"{location}: tokens={self.tokens!r} is not accepted; use a whole number from 0 to 2**48")
        for name, choices in (("per", _PERIODS), ("action", _ACTIONS), ("on_store_error", _ON_STORE_ERROR)):
            if getattr(self, name) not in choices:
                raise ConfigError(
                    f"{location}: {name}={getattr(self, name)!r} is not accepted; use {', '.join(choices)}"
                )
        if self.by is not None and (not isinstance(self.by, str) or not self.by):
            raise ConfigError(f"{location}: by={self.by!r} is not accepted; use feature, user, ... or leave it out")
        if not isinstance(self.match, Mapping) or not all(
            isinstance(key, str) and isinstance(value, str) for key, value in self.match.items()
        ):
            raise ConfigError(f"{location}: match={self.match!r} is not accepted; use a table of texts")
        if self.callback is not None and not callable(self.callback):
            raise ConfigError(f"{location}: callback={self.callback!r} is not accepted; use a function")

    @property
    def limit(self) -> int:
        """Limit as an integer: tokens, or millionths of a millionth of a USD."""
        return self.tokens if self.tokens is not None else int(Fraction(self.usd or 0) * PICO)

    def window(self, at: float) -> str:
        """Return the name of the window that contains a time.

        Args:
            at: Time in seconds since 1970.

        Returns:
            The start of the window in UTC, such as ``2026-01-31``; ``call`` or ``total`` for budgets without windows.
        """
        pattern = _WINDOW_FORMATS.get(self.per)
        return self.per if pattern is None else datetime.fromtimestamp(at, UTC).strftime(pattern)

    def describe_amount(self, amount: int) -> float:
        """Convert an integer amount, such as ``limit``, into tokens or USD, whichever the budget limits."""
        return amount if self.tokens is not None else amount / PICO

    def remove(self) -> None:
        """Remove the budget: it no longer limits calls.

        Does nothing if another budget of the same name has replaced it, or if it was never registered. Spending stays
        recorded, and counts again when a budget of the same name is registered.
        """
        register({name: budget for name, budget in _registered.items() if budget is not self})


class BudgetExceeded(Exception):
    """Error raised when a budget refuses a call. The request was not sent."""

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
        """Name of the window, such as ``2026-01-31``; ``call`` or ``total`` for budgets without windows."""
        self.share = share
        """Value of the key ``budget.by``; empty without one."""
        self.spent = spent
        """Amount spent or reserved in the window: USD, or tokens for a budget in tokens."""
        self.reserved = reserved
        """Part of ``spent`` that is reserved by calls under way."""
        self.call_cost = call_cost
        """Maximum cost of this call, by its output token limit; ``None`` in a warning."""
        super().__init__(reason or _refusal_text(self))

    def __reduce__(self) -> Any:
        # Drop the callback: worker processes pickle their exceptions, and many functions cannot be pickled.
        budget = replace(self.budget, callback=None)
        details: dict[str, Any] = {
            "share": self.share,
            "reason": str(self),
            "reserved": self.reserved,
            "call_cost": self.call_cost,
        }
        return partial(BudgetExceeded, **details), (budget, self.window, self.spent)


# Use the public module: the attribute ``error.type`` contains it.
BudgetExceeded.__module__ = "llmtrace"


def _refusal_text(refusal: BudgetExceeded) -> str:
    budget, unit = refusal.budget, "USD" if refusal.budget.tokens is None else "tokens"
    limit = f"{_format_amount(budget.describe_amount(budget.limit))} {unit}"
    share = f" of {budget.by} {refusal.share!r}" if budget.by else ""
    location = f"budget {budget.name!r}{share} ({refusal.window})"
    if refusal.call_cost is None:
        return f"{location}: {_format_amount(refusal.spent)} of {limit} are spent"
    cost = f"this call could cost {_format_amount(refusal.call_cost)} {unit}"
    if budget.per == "call":
        return f"{location}: {cost}, more than the limit of {limit}"
    spent = _format_amount(round(refusal.spent - refusal.reserved, 12))
    return (
        f"{location}: {_format_amount(refusal.spent)} of {limit} are spent or reserved "
        f"({spent} spent, {_format_amount(refusal.reserved)} reserved by calls under way); {cost}"
    )


def _format_amount(amount: float) -> str:
    """Return an amount as decimal digits, without an exponent."""
    digits = f"{parse(repr(amount)):f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


_registered: dict[str, Budget] = {}


def registered() -> dict[str, Budget]:
    """Return the budgets that ``budget`` created, by name. Changes replace this mapping: compare it by identity."""
    return _registered


def register(budgets: dict[str, Budget]) -> None:
    """Replace all registered budgets with ``budgets``."""
    global _registered  # noqa: PLW0603 - one set of budgets for the process
    _registered = budgets


def forget() -> None:
    """Remove all registered budgets."""
    register({})


def budget(  # noqa: PLR0913 - one parameter for each field of Budget
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
    """Limit the cost of calls, from now on.

    A budget of the same name is replaced. ``Budget.remove`` removes the budget again.

    Args:
        name: Name of the budget in logs, spans and errors.
        usd: Limit in USD. Pass a string or a ``Decimal`` to keep it exact.
        tokens: Limit in tokens, input and output together; instead of ``usd``.
        per: Length of a window: ``call``, ``minute``, ``hour``, ``day``, ``month`` or ``total``. Windows start in UTC.
        by: Key whose values have a limit each: ``feature``, ``user``, ``session``, ``tenant``, ``tag``, ``model``, or
            a metadata key. By default one limit for all calls.
        match: Globs that the values of a call must match for it to count, by key: the keys of ``by``, ``provider``
            and ``operation``. By default all calls count.
        action: ``warn`` logs a warning once the limit is exceeded. ``block`` raises ``BudgetExceeded`` before a
            request is sent that could exceed it.
        on_store_error: ``open`` sends calls while the store cannot be reached. ``closed``, with ``block``, refuses
            them.
        callback: Function called once per window and share above the limit, with the budget and the amount spent (USD
            or tokens).

    Returns:
        The registered budget.

    Raises:
        ConfigError: An argument has an invalid value.
    """
    new = Budget(
        name=name,
        usd=usd,  # type: ignore[arg-type] # Budget converts it
        tokens=tokens,
        per=per,
        by=by,
        match=match or {},
        action=action,
        on_store_error=on_store_error,
        callback=callback,
    )
    register({**_registered, name: new})
    return new


def read(budgets: object, setting: str = "LLMTRACE_BUDGETS") -> dict[str, Budget]:
    """Read budgets from a TOML file or a list.

    Args:
        budgets: Path of a TOML file, or a list of ``Budget`` or of mappings with its fields.
        setting: Name of the setting, for error messages.

    Returns:
        The budgets by name; of two with the same name the last one.

    Raises:
        ConfigError: The file cannot be read, or an entry is not valid.
    """
    if budgets is None or budgets == "":
        return {}
    entries: Any = budgets
    if isinstance(budgets, (str, os.PathLike)):
        path = Path(budgets)
        try:
            document = tomllib.loads(path.expanduser().read_text(encoding="utf-8"), parse_float=parse)
        except (OSError, ValueError, RuntimeError, ArithmeticError) as error:
            # ``RuntimeError``: no home directory, or nesting too deep. ``ArithmeticError``: a number out of range.
            raise ConfigError(f"{setting}={str(path)!r} cannot be read as TOML: {error}") from None
        if set(document) - {"budget"} or not isinstance(document.get("budget"), list):
            raise ConfigError(f"{setting}: unknown {sorted(set(document) - {'budget'})}; use [[budget]] tables")
        entries = document["budget"]
    if not isinstance(entries, Iterable) or isinstance(entries, (str, bytes, Mapping)):
        raise ConfigError(f"{setting}={entries!r} is not accepted; use a path or a list of Budget")
    parsed = [_parse_budget(entry, f"{setting}, entry {number}") for number, entry in enumerate(entries, 1)]
    return {budget.name: budget for budget in parsed}


def _parse_budget(entry: object, location: str) -> Budget:
    if isinstance(entry, Budget):
        return entry
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{location}: {entry!r} is not accepted; use a table with {', '.join(_FIELDS)}")
    for key in entry:
        if key not in _FIELDS:
            raise ConfigError(f"{location}: unknown field {key!r}; accepted: {', '.join(_FIELDS)}")
    if "name" not in entry:
        raise ConfigError(f"{location}: field 'name' is missing; use text")
    try:
        return Budget(**entry)
    except ConfigError as error:
        raise ConfigError(f"{location}: {error}") from None


def _usd(value: object, location: str) -> Decimal | None:
    if value is None:
        return None
    try:
        if isinstance(value, bool):
            raise ArithmeticError
        number = parse(str(value).strip())
    except ArithmeticError:
        number = Decimal("NaN")
    if not number.is_finite() or number < 0 or number > 9_000_000:
        raise ConfigError(f'{location}: usd={value!r} is not accepted; use an amount from 0 to 9000000 such as "5.00"')
    return number
