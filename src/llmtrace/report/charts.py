"""Charts as inline SVG. The SVG contains shapes only and stretches; labels are HTML and keep their size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from .formatting import markup

__all__ = ["COLOURS", "bars", "nice", "stack"]

COLOURS = 7
"""Number of series with a colour of their own. All further series share one more colour."""
_HEIGHT = 100.0


def nice(largest: float, *, even: bool = False) -> float:
    """Return the next round number, for the top of an axis.

    With ``even``, half of it is an integer too, as the middle of the axis is labelled.
    """
    if largest <= 0:
        return 2.0 if even else 1.0
    unit = 10.0 ** math.floor(math.log10(largest))
    tops = (unit * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10))
    return next(top for top in tops if top >= largest * 0.9999 and not (even and top % 2))


def stack(
    labels: Sequence[str], series: Sequence[tuple[str, Sequence[float]]], show: Callable[[float], str], title: str
) -> str:
    """Render stacked columns: one column for each label, one colour for each series."""
    top = nice(max((sum(values[at] for _, values in series) for at in range(len(labels))), default=0))
    shapes = []
    for at, label in enumerate(labels):
        height = 0.0
        for number, (name, values) in enumerate(series):
            value = values[at]
            if value <= 0:
                continue
            size = value / top * _HEIGHT
            height += size
            tooltip = markup(f"{label} · {name} · {show(value)}")
            shapes.append(
                f'<rect class="c{number}" x="{at + 0.08:.2f}" y="{_HEIGHT - height:.3f}" width="0.84" '
                f'height="{size:.3f}"><title>{tooltip}</title></rect>'
            )
    keys = "".join(
        f'<li><i class="c{number}"></i>{markup(name)}</li>'
        for number, (name, values) in enumerate(series)
        if any(values)
    )
    return (
        _frame(len(labels), shapes, top, show, _ticks(labels), title, kind="chart time")
        + f'<ul class="keys">{keys}</ul>'
    )


def bars(counts: Sequence[int], labels: Sequence[str], ticks: Sequence[tuple[float, str]], title: str) -> str:
    """Render a histogram. ``ticks`` are positions along the axis, from 0 to 1, with their labels."""
    top = nice(max(counts, default=0), even=True)
    shapes = [
        f'<rect class="c0" x="{at + 0.04:.2f}" y="{_HEIGHT - count / top * _HEIGHT:.3f}" width="0.92" '
        f'height="{count / top * _HEIGHT:.3f}"><title>{markup(label)}: {count:,}</title></rect>'
        for at, (count, label) in enumerate(zip(counts, labels, strict=True))
        if count
    ]
    return _frame(len(counts), shapes, top, lambda value: f"{value:,.0f}", ticks, title)


def _ticks(labels: Sequence[str]) -> list[tuple[float, str]]:
    """Return about five labels, evenly spread, with the positions of their columns."""
    step = max(1, math.ceil(len(labels) / 5))
    return [((at + 0.5) / len(labels), labels[at]) for at in range(0, len(labels), step)]


def _frame(
    columns: int,
    shapes: Sequence[str],
    top: float,
    show: Callable[[float], str],
    ticks: Sequence[tuple[float, str]],
    title: str,
    *,
    kind: str = "chart",
) -> str:
    grid = "".join(f'<line x1="0" x2="{columns}" y1="{y}" y2="{y}"/>' for y in (0.0, _HEIGHT / 2, _HEIGHT))
    words = "".join(f'<span style="left:{place * 100:.2f}%">{markup(word)}</span>' for place, word in ticks)
    return (
        f'<figure class="{kind}" role="img" aria-label="{markup(title)}">'
        f'<div class="y"><span>{markup(show(top))}</span><span>{markup(show(top / 2))}</span><span>0</span></div>'
        f'<svg viewBox="0 0 {max(columns, 1)} {_HEIGHT:.0f}" preserveAspectRatio="none">{grid}{"".join(shapes)}</svg>'
        f'<div class="x">{words}</div></figure>'
    )
