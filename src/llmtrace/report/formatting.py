"""Short, readable formats of numbers and text."""

from __future__ import annotations

import re
from decimal import Decimal
from unicodedata import category

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""Prefixes that make a spreadsheet read a cell as a formula, full-width forms included."""
_NUMBER = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)


def count(number: int | None) -> str:
    """Format a count: ``1,234``, ``12.3k``, ``4.56M``."""
    if number is None:
        return "-"
    if number < 10_000:
        return f"{number:,}"
    for unit, letter in ((1000, "k"), (10**6, "M"), (10**9, "G"), (10**12, "T")):
        value = number / unit
        if value < 999.5 or letter == "T":
            return f"{value:.{0 if value >= 99.95 else 1 if value >= 9.995 else 2}f}{letter}"
    raise AssertionError


def money(dollars: Decimal | float | None) -> str:
    """Format dollars with as many decimals as the amount needs: ``$12.30``, ``$0.0042``."""
    if dollars is None:
        return "-"
    amount = float(dollars)
    sign, size = ("-" if amount < 0 else ""), abs(amount)
    if size == 0:
        return "$0"
    if size >= 10_000:
        return f"{sign}${size:,.0f}"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    if size <= 0.0000005:  # would be rounded to $0.000000
        return f"{sign}<$0.000001"
    decimals = 4 if size >= 0.01 else 5 if size >= 0.001 else 6
    return f"{sign}${size:.{decimals}f}"


def seconds(value: float | None) -> str:
    """Format seconds: ``85ms``, ``1.23s``, ``2m05s``, ``3h20m``."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1000:.{0 if value >= 0.01 else 1}f}ms"
    if value < 59.95:
        return f"{value:.{2 if value < 9.995 else 1}f}s"
    total = round(value)
    return f"{total // 60}m{total % 60:02}s" if total < 3600 else f"{total // 3600}h{total % 3600 // 60:02}m"


def plain(text: str) -> str:
    """Replace characters that would control a terminal: control characters, line ends, changes of direction.

    Everything that the commands print, and every cell of a table or a page, passes through this function.
    """
    return text if text.isprintable() else "".join(map(_plain, text))


def _plain(letter: str) -> str:
    # Keep spaces such as the no-break space: they are not "printable", but harmless.
    return letter if letter.isprintable() or category(letter) == "Zs" else "\ufffd"


def cell(value: object) -> object:
    """Return a value for a cell of a CSV file. Text that a spreadsheet would run as a formula gets an apostrophe."""
    if not isinstance(value, str):
        return value
    formula = value.lstrip()[:1] in _FORMULA or value[:1] in _FORMULA
    return ("'" if formula and not _NUMBER.fullmatch(value) else "") + plain(value)


def counted(number: int, noun: str) -> str:
    """Format a number with its noun: ``1 call``, ``2 calls``, ``12,345 calls``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def share(part: float | None, total: float | None) -> str:
    """Format a share: ``0``, ``<.1%``, ``2.5%``, ``37%``."""
    if not total or part is None:
        return "-"
    percent = 100 * part / total
    if percent == 0:
        return "0"
    if percent < 0.1:
        return "<.1%"
    return f"{percent:.1f}%" if percent < 9.95 else f"{percent:.0f}%"
