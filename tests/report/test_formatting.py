"""Short formats that never show a digit that is not there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from llmtrace.report import formatting


@pytest.mark.parametrize(
    ("shown", "value", "expected"),
    [
        (formatting.count, None, "-"), (formatting.count, 9_999, "9,999"), (formatting.count, 12_345, "12.3k"),
        (formatting.count, 999_600, "1.00M"), (formatting.count, 4_560_000_000, "4.56G"),
        (formatting.count, 10**15, "1000T"),
        (formatting.money, None, "-"), (formatting.money, 0, "$0"), (formatting.money, 12345.6, "$12,346"),
        (formatting.money, 1.5, "$1.50"), (formatting.money, 0.0042, "$0.00420"), (formatting.money, -0.5, "-$0.5000"),
        (formatting.money, 1e-9, "<$0.000001"), (formatting.money, 0.0000005, "<$0.000001"),
        (formatting.money, 0.000001, "$0.000001"),
        (formatting.seconds, None, "-"), (formatting.seconds, 0.0012, "1.2ms"), (formatting.seconds, 0.085, "85ms"),
        (formatting.seconds, 9.5, "9.50s"), (formatting.seconds, 59.96, "1m00s"), (formatting.seconds, 12_000, "3h20m"),
        (formatting.plain, "a\x1b\u202eb", "a\ufffd\ufffdb"),
    ],
)  # fmt: skip
def test_figures_are_formatted_by_kind(shown: Callable[[Any], str], value: Any, expected: str) -> None:
    """The unit fits the size."""
    assert shown(value) == expected


@pytest.mark.parametrize(
    ("part", "total", "expected"),
    [(1, 0, "-"), (1, None, "-"), (None, 1, "-"), (0, 5, "0"), (1, 5000, "<.1%"), (1, 40, "2.5%"), (99.6, 1000, "10%")],
)
def test_shares_are_formatted_as_percentages(part: float | None, total: float | None, expected: str) -> None:
    """A share of nothing is a dash, and a small share is not zero."""
    assert formatting.share(part, total) == expected
