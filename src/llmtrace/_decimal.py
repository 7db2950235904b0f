"""Decimal arithmetic in a private context: the application's context may round to few digits or trap signals."""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import Decimal

PICO = 10**12
"""Pico-USD per USD. Budgets and the store count integers of this unit."""


def _context(precision: int, *traps: type[decimal.DecimalException]) -> decimal.Context:
    # Set every field: omitted ones come from ``decimal.DefaultContext``, which an application may change.
    return decimal.Context(
        prec=precision,
        rounding=decimal.ROUND_HALF_EVEN,
        Emin=-999_999,
        Emax=999_999,
        capitals=1,
        clamp=0,
        flags=[],
        traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow, *traps],
    )


CONTEXT = _context(400)
"""Context in which sums and products of money are exact."""
_EXACT = _context(80, decimal.Inexact)
_ROUNDED = _context(28)


def own_context() -> AbstractContextManager[decimal.Context]:
    """Return a context manager that makes our context current, for third-party code that uses ``Decimal``."""
    return decimal.localcontext(CONTEXT)


def parse(value: str | float) -> Decimal:
    """Return the exact ``Decimal`` of a number.

    Raises:
        decimal.InvalidOperation: The text is not a number.
    """
    return Decimal(value, CONTEXT)


def add(amounts: Iterable[Decimal]) -> Decimal:
    """Return the exact sum."""
    total = Decimal(0)
    for amount in amounts:
        total = CONTEXT.add(total, amount)
    return total


def divide(numerator: int, denominator: int) -> Decimal:
    """Return a quotient: exact, or rounded to 28 digits if it does not terminate."""
    try:
        return _EXACT.divide(Decimal(numerator), Decimal(denominator))
    except decimal.Inexact:
        return _ROUNDED.divide(Decimal(numerator), Decimal(denominator))


def from_pico(amount: int) -> Decimal:
    """Return the USD of an amount in pico-USD."""
    return divide(amount, PICO)
