"""Numbers as people read them, in few characters."""

from __future__ import annotations

from decimal import Decimal

__all__ = ["count", "money", "plain", "seconds", "share"]


def count(number: int | None) -> str:
    """``1,234``, ``12.3k``, ``4.56M``."""
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
    """Dollars with as many decimals as the amount needs: ``$12.30``, ``$0.0042``."""
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
    if size <= 0.0000005:  # which would be shown as none
        return f"{sign}<$0.000001"
    decimals = 4 if size >= 0.01 else 5 if size >= 0.001 else 6
    return f"{sign}${size:.{decimals}f}"


def seconds(value: float | None) -> str:
    """``85ms``, ``1.23s``, ``2m05s``, ``3h20m``."""
    if value is None:
        return "-"
    if value < 0.9995:
        return f"{value * 1000:.{0 if value >= 0.01 else 1}f}ms"
    if value < 59.95:
        return f"{value:.{2 if value < 9.995 else 1}f}s"
    whole = round(value)
    return f"{whole // 60}m{whole % 60:02}s" if whole < 3600 else f"{whole // 3600}h{whole % 3600 // 60:02}m"


def plain(text: str) -> str:
    """A text that others chose, such as a user's name, without what would steer the terminal."""
    return text if text.isprintable() else "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def share(part: float | None, whole: float | None) -> str:
    """``0``, ``<0.1%``, ``2.5%``, ``37%``."""
    if not whole or part is None:
        return "-"
    percent = 100 * part / whole
    if percent == 0:
        return "0"
    if percent < 0.1:
        return "<.1%"
    return f"{percent:.1f}%" if percent < 9.95 else f"{percent:.0f}%"
