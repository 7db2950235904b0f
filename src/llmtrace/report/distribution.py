"""Quantiles and histograms of sorted numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np


class Distribution:
    """Sorted integers."""

    __slots__ = ("_ordered",)

    def __init__(self, ordered: Iterable[int] | Any = ()) -> None:
        self._ordered = ordered if isinstance(ordered, np.ndarray) else np.array(list(ordered), np.int64)

    def __len__(self) -> int:
        return len(self._ordered)

    def quantile(self, percent: float) -> int | None:
        """Return the smallest number that is at least as large as ``percent`` % of them; ``None`` if empty."""
        size = len(self._ordered)
        return int(self._ordered[max(1, math.ceil(percent / 100 * size)) - 1]) if size else None

    def seconds(self, percent: float) -> float | None:
        """Return a quantile of microseconds in seconds."""
        value = self.quantile(percent)
        return None if value is None else value / 1e6

    def counts(self, edges: Sequence[int]) -> list[int]:
        """Return the counts of a histogram: below the first edge, between edges, and from the last edge on."""
        cumulative = [0, *np.searchsorted(self._ordered, list(edges)).tolist(), len(self)]
        return [high - low for low, high in pairwise(cumulative)]
