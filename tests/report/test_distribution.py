"""Quantiles and histograms match the numbers."""

from __future__ import annotations

import math
from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from llmtrace.report.distribution import Distribution

NUMBERS = st.integers(0, 2**40)


@given(st.lists(NUMBERS, max_size=60), st.sampled_from([0, 1, 50, 95, 99, 100]))
def test_quantiles_match_the_sorted_numbers(numbers: list[int], percent: int) -> None:
    """A quantile is the smallest number that at least so many percent do not exceed."""
    ordered = sorted(numbers)
    expected = ordered[max(1, math.ceil(len(ordered) * percent / 100)) - 1] if ordered else None
    result = Distribution(ordered)
    assert len(result) == len(ordered)
    assert result.quantile(percent) == expected


@given(st.lists(NUMBERS), st.lists(NUMBERS, unique=True).map(sorted))
def test_histogram_counts_add_up(numbers: list[int], edges: list[int]) -> None:
    """Every number is counted once, below the first edge above it."""
    ordered = sorted(numbers)
    result = Distribution(ordered).counts(edges)
    assert sum(result) == len(numbers)
    assert [sum(result[: at + 1]) for at in range(len(edges))] == [bisect_left(ordered, edge) for edge in edges]
