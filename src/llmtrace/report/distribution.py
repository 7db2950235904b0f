"""Many numbers, of which only a few order statistics are wanted."""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise

__all__ = ["Distribution"]

_SMALL = 256
"""Runs that are shorter on average are put together: looking into each would take longer."""


class Distribution:
    """Whole numbers, kept as sorted runs. Sorting a million at once takes longer than all else in a report."""

    __slots__ = ("_runs",)

    def __init__(self, runs: Iterable[list[int]] = ()) -> None:
        self._runs = [run for run in runs if run]

    @classmethod
    def read(cls, texts: Sequence[str]) -> Distribution:
        """From numbers with commas between them, as ``group_concat`` gives them."""
        if sum(map(len, texts)) < len(texts) * _SMALL * 8:
            texts = [",".join(texts)]
        # JSON is the quickest reader of integers in the standard library.
        runs = [json.loads(f"[{text}]") for text in texts]
        for run in runs:
            run.sort()
        return cls(runs)

    @classmethod
    def union(cls, parts: Sequence[Distribution]) -> Distribution:
        """All the numbers of several."""
        runs = [run for part in parts for run in part._runs]
        if sum(map(len, runs)) < len(runs) * _SMALL:
            runs = [sorted(chain.from_iterable(runs))]
        return cls(runs)

    def __len__(self) -> int:
        return sum(map(len, self._runs))

    def quantile(self, percent: float) -> int | None:
        """The smallest of the numbers that at least so many percent do not exceed; ``None`` when there are none."""
        runs = self._runs
        if not runs:
            return None
        rank = max(1, math.ceil(percent / 100 * len(self)))
        low, high = min(run[0] for run in runs), max(run[-1] for run in runs)
        while low < high:
            middle = (low + high) // 2
            if sum(bisect_right(run, middle) for run in runs) >= rank:
                high = middle
            else:
                low = middle + 1
        return low

    def counts(self, edges: Sequence[int]) -> list[int]:
        """How many lie under each edge and not under the one before it; last, those that are not under any."""
        under = [0, *(sum(bisect_left(run, edge) for run in self._runs) for edge in edges), len(self)]
        return [high - low for low, high in pairwise(under)]
