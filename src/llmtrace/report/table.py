"""A report in a terminal: what it cost, then how it behaved, each in 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import formatting
from .aggregate import Aggregate, Report

__all__ = ["ABSENT", "BLOCKED", "COST_COLUMNS", "TIME_COLUMNS", "Column", "fitting", "footnotes", "tables"]

_LEAST_NAME, _LEAST_NAMES = 10, 8
"""Columns that a name keeps where it is alone, and where there are several."""
_GIVE_WAY = ("1st p99", "refused", "p99", "cached", "cut", "error", "1st p95", "output", "input", "tok/s", "1st p50",
             "a call", "p95", "blocked")  # fmt: skip
"""Columns that a narrow terminal goes without, the first of them first."""
ABSENT = "(none)"
Column = tuple[str, Callable[[Aggregate], str]]


def _times(name: str, percent: float) -> Callable[[Aggregate], str]:
    def cell(group: Aggregate) -> str:
        value = getattr(group, name).quantile(percent)
        return formatting.seconds(None if value is None else value / 1e6)

    return cell


def _speed(group: Aggregate) -> str:
    value = group.speed.quantile(50)
    return "-" if value is None else f"{value / 1000:.0f}"


COST_COLUMNS: tuple[Column, ...] = (
    ("calls", lambda group: formatting.count(group.calls)),
    ("error", lambda group: formatting.share(group.errors, group.calls)),
    ("refused", lambda group: formatting.share(group.refusals, group.calls)),
    ("input", lambda group: formatting.count(group.input)),
    ("cached", lambda group: formatting.share(group.cache_read, group.input)),
    ("output", lambda group: formatting.count(group.output)),
    ("cost", lambda group: formatting.money(group.dollars) if group.priced else "-"),
    ("a call", lambda group: formatting.money(group.dollars_per_call)),
)
BLOCKED: tuple[Column, ...] = (("blocked", lambda group: formatting.count(group.blocked)),)
"""Shown where a budget has blocked calls."""
TIME_COLUMNS: tuple[Column, ...] = (
    ("p50", _times("duration", 50)),
    ("p95", _times("duration", 95)),
    ("p99", _times("duration", 99)),
    ("1st p50", _times("first_token", 50)),
    ("1st p95", _times("first_token", 95)),
    ("1st p99", _times("first_token", 99)),
    ("tok/s", _speed),
    ("cut", lambda group: formatting.share(group.cut, group.streamed)),
)


def tables(told: Report, by: Sequence[str], *, width: int = 80) -> RenderableType:
    """Both tables, with the sum of everything in the last line when there is more than one."""
    whole, hidden = told.total, told.hidden
    lines = [([ABSENT if part is None else part for part in key], group) for key, group in told.rows]
    costs = (*COST_COLUMNS, *BLOCKED) if whole.blocked else COST_COLUMNS
    parts: list[RenderableType] = [_table("Cost", lines, whole, by, costs, width, hidden)]
    if whole.duration:
        parts += ["", _table("Time", lines, whole, by, TIME_COLUMNS, width, hidden)]
    return Group(*parts)


def _table(
    title: str,
    lines: Sequence[tuple[Sequence[str], Aggregate]],
    whole: Aggregate,
    by: Sequence[str],
    columns: Sequence[Column],
    width: int,
    hidden: int,
) -> Table:
    groups = (*(group for _, group in lines), whole)
    sizes = {heading: max(len(heading), *(len(cell(group)) for group in groups)) for heading, cell in columns}
    least = max(1, len(by)) * ((_LEAST_NAMES if len(by) > 1 else _LEAST_NAME) + 1)
    kept = fitting(sizes, width - least, _GIVE_WAY)
    columns = [(heading, cell) for heading, cell in columns if heading in kept]
    widths = [sizes[heading] for heading, _ in columns]
    told = [[cell(group) for _, cell in columns] for group in groups]
    # Where the width does not suffice, names give way and figures stay whole.
    room = max(3, (width - sum(widths) - len(widths)) // max(1, len(by)) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=False)
    for position, name in enumerate(by or ("all",)):
        heading = name if position or not by else f"{title} by {name}"
        table.add_column(Text(formatting.plain(heading)), no_wrap=True, overflow="ellipsis", max_width=room)
    for (heading, _), size in zip(columns, widths, strict=True):
        table.add_column(heading, justify="right", no_wrap=True, min_width=size)
    for (names, _), row in zip(lines, told, strict=False):
        table.add_row(*(Text(formatting.plain(name)) for name in names or [title]), *row)
    if hidden:
        table.add_row(*([f"and {hidden:,} more"] + [""] * (max(1, len(by)) - 1 + len(columns))), style="dim")
    if len(lines) + hidden > 1:
        table.add_row("total", *([""] * (len(by) - 1)), *told[-1], style="bold")
    return table


def fitting(sizes: Mapping[str, int], width: int, give_way: Sequence[str], *, gap: int = 1) -> set[str]:
    """Return the columns that fit into the width, each whole, when those of ``give_way`` go first to last."""
    kept = dict(sizes)
    for name in give_way:
        if sum(kept.values()) + gap * len(kept) <= width:
            break
        kept.pop(name, None)
    return set(kept)


def footnotes(whole: Aggregate) -> list[str]:
    """What the figures leave out, and why."""
    notes = []
    if whole.blocked:
        were = "was" if whole.blocked == 1 else "were"
        notes.append(f"{formatting.counted(whole.blocked, 'call')} {were} blocked by a budget and {were} not sent.")
    if whole.unpriced:
        reasons = sorted(whole.reasons.items(), key=lambda each: -each[1])
        listed = ", ".join(f"{_short(reason)} {formatting.count(number)}" for reason, number in reasons[:4])
        if "no_usage" in whole.reasons:
            listed += " (for OpenAI streams, LLMTRACE_STREAM_USAGE=auto asks for the usage)"
        notes.append(
            f"{formatting.share(whole.unpriced, whole.calls)} of the calls have no known cost and are in no sum: {listed}."
        )
    if whole.estimated:
        more = f", about {formatting.money(whole.estimated_cost / 1e12)} more" if whole.estimated_cost else ""
        notes.append(f"{formatting.share(whole.estimated, whole.calls)} have estimated usage{more}.")
    if whole.cut:
        ends = sorted((end, number) for end, number in whole.ends.items() if end != "exhausted")
        listed = ", ".join(f"{_short(end)} {formatting.count(number)}" for end, number in ends[:6])
        notes.append(
            f"{formatting.share(whole.cut, whole.streamed)} of the streams did not run to their end: {listed}."
        )
    return notes


def _short(word: str) -> str:
    """A word that a span of somebody else's may have made up."""
    return formatting.plain(word if len(word) <= 40 else f"{word[:39]}…")
