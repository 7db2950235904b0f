"""Geometry of the charts of the report page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

COLOURS = 7
"""Number of series with a colour of their own. All further series share one more colour."""
HEIGHT = 100


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle. Columns are one unit wide, and y grows downwards from 0 to ``HEIGHT``."""

    colour: int
    x: float
    y: float
    width: float
    height: float
    tooltip: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A bar chart with its labels."""

    title: str
    columns: int
    bars: Sequence[Bar]
    top: str
    middle: str
    ticks: Sequence[tuple[float, str]]
    """Positions along the axis, from 0 to 1, with their labels."""
    keys: Sequence[tuple[int, str]] = ()
    """Colour and name of each series."""
    kind: str = ""
    height: int = HEIGHT


def axis_top(largest: float, *, even: bool = False) -> float:
    """Return the next round number, for the top of an axis.

    With ``even``, half of it is an integer too, as the middle of the axis is labelled.
    """
    if largest <= 0:
        return 2.0 if even else 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    tops = (unit * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next(top for top in tops if top >= largest * 0.9999 and not (even and top % 2))


def stacked_columns(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], show: Callable[[float], str], title: str
) -> Chart:
    """Return stacked columns: one column for each label, one colour for each series."""
    top = axis_top(max((sum(values[at] for _, values in series) for at in range(len(labels))), default=0))
    bars = []
    for at, label in enumerate(labels):
        stacked = 0.0
        for colour, (name, values) in enumerate(series):
            if values[at] > 0:
                size = values[at] / top * HEIGHT
                stacked += size
                tooltip = f"{label} · {name} · {show(values[at])}"
                bars.append(Bar(colour, at + 0.08, HEIGHT - stacked, 0.84, size, tooltip))
    keys = [(colour, name) for colour, (name, values) in enumerate(series) if any(values)]
    step = max(1, math.ceil(len(labels) / 5))  # about five labels, evenly spread
    ticks = [((at + 0.5) / len(labels), labels[at]) for at in range(0, len(labels), step)]
    return Chart(title, len(labels), bars, show(top), show(top / 2), ticks, keys, "time")


def histogram(counts: Sequence[int], labels: Sequence[str], ticks: Sequence[tuple[float, str]], title: str) -> Chart:
    """Return a histogram. ``ticks`` are positions along the axis, from 0 to 1, with their labels."""
    top = axis_top(max(counts, default=0), even=True)
    bars = [
        Bar(0, at + 0.04, HEIGHT - count / top * HEIGHT, 0.92, count / top * HEIGHT, f"{label}: {count:,}")
        for at, (count, label) in enumerate(zip(counts, labels, strict=True))
        if count
    ]
    return Chart(title, len(counts), bars, f"{top:,.0f}", f"{top / 2:,.0f}", ticks)
