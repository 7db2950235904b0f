"""Decimal arithmetic in a context of our own: the application's may round to three digits, or trap what is harmless."""

from __future__ import annotations

import decimal
from collections.abc import Iterable
from contextlib import AbstractContextManager
from decimal import Decimal

__all__ = ["CONTEXT", "PICO", "add", "divide", "from_pico", "own_context", "parse"]

PICO = 10**12
"""One USD, as budgets and the store count: in whole numbers."""


def _context(precision: int, *traps: type[decimal.DecimalException]) -> decimal.Context:
    # Every field is given: those left out come from ``decimal.DefaultContext``, which an application may change.
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
"""Sums and products of money are exact in it."""
_EXACT = _context(80, decimal.Inexact)
_ROUNDED = _context(28)


def own_context() -> AbstractContextManager[decimal.Context]:
    """Return a block in which operators on ``Decimal`` work in our context, for code that is not ours."""
    return decimal.localcontext(CONTEXT)


def parse(value: str | float) -> Decimal:
    """Return a number exactly.

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
    """Return a quotient: exact, or where it has no end, to 28 digits."""
    try:
        return _EXACT.divide(Decimal(numerator), Decimal(denominator))
    except decimal.Inexact:
        return _ROUNDED.divide(Decimal(numerator), Decimal(denominator))


def from_pico(amount: int) -> Decimal:
    """Return USD of millionths of a millionth."""
    return divide(amount, PICO)
