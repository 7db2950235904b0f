"""Comparison of two selections of calls, with confidence intervals."""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._decimal import PICO
from . import formatting
from .calls import Array, carried_out, read
from .select import QueryError, Selection

Numbers = Sequence[float] | Array
_Z = 1.959964
"""Standard deviations that contain 95 % of a normal distribution."""
_MIN_CALLS = 8
"""Minimum calls for an interval."""
_LIMIT = re.compile(r"([a-z][a-z ]*?)\s*([+-])\s*(\d+(?:\.\d+)?)\s*%?")


@dataclass(slots=True)
class Sample:
    """Figures of one side, for each call."""

    calls: int = 0
    values: dict[str, Numbers] = field(default_factory=dict)
    """Numbers by the names of ``_VALUES``."""
    errors: int = 0
    refusals: int = 0
    finishes: dict[str, int] = field(default_factory=dict)
    """Number of calls by finish reason."""


@dataclass(frozen=True, slots=True)
class Change:
    """Change of one metric. ``low`` and ``high`` are its 95 % confidence interval, if there are enough calls.

    The change of a rate is a difference, that of other metrics is relative: 0.1 is 10 % more.
    """

    metric: str
    kind: str
    before: float | None
    after: float | None
    change: float | None
    low: float | None
    high: float | None
    shown: tuple[str, str]

    @property
    def clear(self) -> bool:
        """True if the 95 % interval excludes "no change"."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True)
class Limit:
    """A ``--fail-if`` limit: the metric must not change by more than ``by`` in the direction of its sign."""

    metric: str
    by: float
    text: str


def _percent(value: float | None) -> str:
    return "-" if value is None else formatting.share(value, 1) if value else "0%"


def _count(value: float | None) -> str:
    return formatting.count(None if value is None else round(value))


_VALUES: dict[str, tuple[str, str, int, Callable[[float | None], str]]] = {
    "cost": ("mean", "cost", PICO, formatting.money),
    "latency": ("median", "duration", 10**6, formatting.seconds),
    "first token": ("median", "first_token", 10**6, formatting.seconds),
    "input": ("mean", "input", 1, _count),
    "output": ("mean", "output", 1, _count),
}
"""Kind of comparison, column, units of the column in one, and format of each metric of which calls have a value."""
_NAMES = (*_VALUES, "error", "refusal")


def sample(store: sqlite3.Connection, chosen: Selection) -> Sample:
    """Read the figures of one side."""
    calls = carried_out(read(store, chosen))
    side = Sample(calls=len(calls))
    for name, (_, column, unit, _) in _VALUES.items():
        values = calls[column]
        side.values[name] = values[values >= 0] / unit
    for row, count in zip(
        calls.dimensions, np.bincount(calls.dimension_ids, minlength=len(calls.dimensions)).tolist(), strict=True
    ):
        side.errors += count if row["outcome"] == "error" else 0
        reason = row["finish"]
        if reason is not None and count:
            side.finishes[reason] = side.finishes.get(reason, 0) + count
            side.refusals += count if "content_filter" in reason.split(",") else 0
    return side


def compare(before: Sample, after: Sample) -> list[Change]:
    """Compare every metric that at least one side has; finish reasons come last."""
    changes = [_change(name, before.values.get(name, ()), after.values.get(name, ())) for name in _VALUES]
    changes += [
        _rate("error", before.errors, before.calls, after.errors, after.calls),
        _rate("refusal", before.refusals, before.calls, after.refusals, after.calls),
    ]
    ended = sum(before.finishes.values()), sum(after.finishes.values())
    for reason in sorted((before.finishes.keys() | after.finishes.keys()) - {"content_filter"}):  # counted as refusal
        counts = before.finishes.get(reason, 0), after.finishes.get(reason, 0)
        changes.append(_rate(f"finish {reason}", counts[0], ended[0], counts[1], ended[1]))
    return [change for change in changes if change.before is not None or change.after is not None]


def _change(name: str, first: Numbers, second: Numbers) -> Change:
    kind, _, _, show = _VALUES[name]
    middle, spread = (_mean, _mean_spread) if kind == "mean" else (_median, _median_spread)
    a, b = middle(first), middle(second)
    change = low = high = None
    if a and b is not None:
        change = b / a - 1
        parts = spread(first), spread(second)
        if b and parts[0] is not None and parts[1] is not None:
            # Use logarithms: the logarithm of a ratio is nearly normal where the ratio itself is not.
            wide = _Z * math.hypot(parts[0], parts[1])
            low, high = (b / a) * math.exp(-wide) - 1, (b / a) * math.exp(wide) - 1
    return Change(name, kind, a, b, change, low, high, (show(a), show(b)))


def _rate(name: str, x: int, n: int, y: int, m: int) -> Change:
    """Compare ``x`` of ``n`` calls with ``y`` of ``m``."""
    a, b = (x / n if n else None), (y / m if m else None)
    change = low = high = None
    if a is not None and b is not None:
        change = b - a
        if min(n, m) >= _MIN_CALLS:
            # Newcombe's interval also holds for rates near 0 and 1.
            (a_low, a_high), (b_low, b_high) = _wilson(x, n), _wilson(y, m)
            low = change - math.hypot(b - b_low, a_high - a)
            high = change + math.hypot(b_high - b, a - a_low)
    return Change(name, "rate", a, b, change, low, high, (_percent(a), _percent(b)))


def _wilson(count: int, of: int) -> tuple[float, float]:
    rate, z2 = count / of, _Z * _Z
    middle = (rate + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z / (1 + z2 / of) * math.sqrt(rate * (1 - rate) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def _mean(values: Numbers) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _mean_spread(values: Numbers) -> float | None:
    """Return the standard error of the logarithm of the mean."""
    mean = _mean(values)
    if mean is None or len(values) < _MIN_CALLS or mean <= 0:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values)) / mean


def _median(values: Numbers) -> float | None:
    return _at(values, (len(values) - 1) // 2) if len(values) else None


def _median_spread(values: Numbers) -> float | None:
    """Return the standard error of the logarithm of the median, from distribution-free order statistics."""
    size = len(values)
    if size < _MIN_CALLS:
        return None
    half = _Z * math.sqrt(size) / 2
    low = _at(values, max(0, math.floor(size / 2 - half) - 1))
    high = _at(values, min(size - 1, math.ceil(size / 2 + half)))
    return (math.log(high) - math.log(low)) / (2 * _Z) if low > 0 else None


def _at(values: Numbers, position: int) -> float:
    """Return the value at a position of the sorted values."""
    return float(np.partition(values, position)[position])


def parse_limit(text: str) -> Limit:
    """Parse a ``--fail-if`` limit, such as ``cost +10 %`` or ``error +1 %``.

    Raises:
        QueryError: The text is not a valid limit.
    """
    match = _LIMIT.fullmatch(" ".join(text.strip().lower().split()))
    if match is None or (match[1] not in _NAMES and not match[1].startswith("finish ")):
        raise QueryError(
            f"--fail-if {text!r} is not a valid limit: use NAME +N % with one of {', '.join(_NAMES)}, finish REASON"
        )
    return Limit(match[1], float(f"{match[2]}{match[3]}") / 100, text)


def exceeded(limits: Sequence[Limit], changes: Sequence[Change]) -> list[Limit]:
    """Return the limits that were exceeded by a change whose 95 % interval excludes "no change"."""
    by_metric: Mapping[str, Change] = {change.metric: change for change in changes}
    failed = []
    for limit in limits:
        change = by_metric.get(limit.metric)
        if change is None or change.change is None or change.low is None or change.high is None:
            continue
        rose, fell = change.change > limit.by and change.low > 0, change.change < limit.by and change.high < 0
        if rose if limit.by >= 0 else fell:
            failed.append(limit)
    return failed


def as_dict(change: Change) -> dict[str, Any]:
    """Return a change as a dictionary, for JSON."""
    names = ("metric", "kind", "before", "after", "change", "low", "high", "clear")
    return {name: getattr(change, name) for name in names}
