"""Times between the chunks of a stream, counted in a fixed number of buckets."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

GAP_BOUNDS_SECONDS = tuple(0.01 * 2**step for step in range(14))
"""Inclusive upper bounds of the buckets in seconds. The last bucket has none."""


class ChunkGaps:
    """Count and sum of the gaps in each bucket, and the minimum and maximum of all gaps, in seconds."""

    __slots__ = ("counts", "maximum", "minimum", "sums")

    def __init__(self) -> None:
        self.counts: list[int] = [0] * (len(GAP_BOUNDS_SECONDS) + 1)
        self.sums: list[float] = [0.0] * len(self.counts)
        self.minimum: float = float("inf")
        self.maximum: float = 0.0

    def add(self, ordered: Sequence[float]) -> None:
        """Add gaps in seconds, sorted in ascending order."""
        if not ordered:
            return
        self.minimum, self.maximum = min(self.minimum, ordered[0]), max(self.maximum, ordered[-1])
        start = 0
        for bucket, bound in enumerate((*GAP_BOUNDS_SECONDS, float("inf"))):
            end = bisect_right(ordered, bound, start)
            if end > start:
                self.counts[bucket] += end - start
                self.sums[bucket] += sum(ordered[start:end])
                if end == len(ordered):
                    break
            start = end

    @property
    def count(self) -> int:
        """Number of gaps in all buckets."""
        return sum(self.counts)
