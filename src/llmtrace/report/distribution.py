"""Many numbers, of which only a few order statistics are wanted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

__all__ = ["Distribution"]


class Distribution:
    """Whole numbers in their order."""

    __slots__ = ("_ordered",)

    def __init__(self, ordered: Iterable[int] | Any = ()) -> None:
        self._ordered = ordered if isinstance(ordered, np.ndarray) else np.array(list(ordered), np.int64)

    def __len__(self) -> int:
        return len(self._ordered)

    def quantile(self, percent: float) -> int | None:
        """The smallest of the numbers that at least so many percent do not exceed; ``None`` when there are none."""
        size = len(self._ordered)
        return int(self._ordered[max(1, math.ceil(percent / 100 * size)) - 1]) if size else None

    def counts(self, edges: Sequence[int]) -> list[int]:
        """How many lie under each edge and not under the one before it; last, those that are not under any."""
        under = [0, *np.searchsorted(self._ordered, list(edges)).tolist(), len(self)]
        return [high - low for low, high in pairwise(under)]
