"""A report in a terminal: a table of costs and a table of times, each in 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from . import formatting
from .aggregate import Aggregate, Report

_MIN_NAME_WIDTH, _MIN_NAMES_WIDTH = 10, 8
"""Minimum characters of the name column, if there is one, and of each if there are several."""
_OPTIONAL_COLUMNS = ("TTFT p99", "refused", "p99", "cached", "cut", "error", "TTFT p95", "output", "input", "tok/s",
                     "TTFT p50", "cost/call", "p95", "blocked")  # fmt: skip
"""Columns that are dropped in a narrow terminal, in this order."""
ABSENT = "(none)"
Column = tuple[str, Callable[[Aggregate], str]]


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
    ("cost/call", lambda group: formatting.money(group.dollars_per_call)),
)
BLOCKED: tuple[Column, ...] = (("blocked", lambda group: formatting.count(group.blocked)),)
"""Columns that are shown only if a budget blocked calls."""
TIME_COLUMNS: tuple[Column, ...] = (
    ("p50", lambda group: formatting.seconds(group.duration.seconds(50))),
    ("p95", lambda group: formatting.seconds(group.duration.seconds(95))),
    ("p99", lambda group: formatting.seconds(group.duration.seconds(99))),
    ("TTFT p50", lambda group: formatting.seconds(group.first_token.seconds(50))),
    ("TTFT p95", lambda group: formatting.seconds(group.first_token.seconds(95))),
    ("TTFT p99", lambda group: formatting.seconds(group.first_token.seconds(99))),
    ("tok/s", _speed),
    ("cut", lambda group: formatting.share(group.cut, group.streamed)),
)


def tables(result: Report, by: Sequence[str], *, width: int = 80) -> RenderableType:
    """Render both tables, with the totals in the last line if there is more than one group."""
    total, hidden = result.total, result.hidden
    lines = [([ABSENT if part is None else part for part in key], group) for key, group in result.rows]
    costs = (*COST_COLUMNS, *BLOCKED) if total.blocked else COST_COLUMNS
    parts: list[RenderableType] = [_table("Cost", lines, total, by, costs, width, hidden)]
    if total.duration:
        parts += ["", _table("Time", lines, total, by, TIME_COLUMNS, width, hidden)]
    return Group(*parts)


def _table(
    title: str,
    lines: Sequence[tuple[Sequence[str], Aggregate]],
    total: Aggregate,
    by: Sequence[str],
    columns: Sequence[Column],
    width: int,
    hidden: int,
) -> Table:
    groups = (*(group for _, group in lines), total)
    sizes = {heading: max(len(heading), *(len(cell(group)) for group in groups)) for heading, cell in columns}
    least = max(1, len(by)) * ((_MIN_NAMES_WIDTH if len(by) > 1 else _MIN_NAME_WIDTH) + 1)
    kept = fitting(sizes, width - least, _OPTIONAL_COLUMNS)
    columns = [(heading, cell) for heading, cell in columns if heading in kept]
    widths = [sizes[heading] for heading, _ in columns]
    cells_of_rows = [[cell(group) for _, cell in columns] for group in groups]
    # In a narrow terminal, shorten names: figures are never cut.
    room = max(3, (width - sum(widths) - len(widths)) // max(1, len(by)) - 1)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold", expand=False)
    for position, name in enumerate(by or ("all",)):
        heading = name if position or not by else f"{title} by {name}"
        table.add_column(Text(formatting.plain(heading)), no_wrap=True, overflow="ellipsis", max_width=room)
    for (heading, _), size in zip(columns, widths, strict=True):
        table.add_column(heading, justify="right", no_wrap=True, min_width=size)
    for (names, _), row in zip(lines, cells_of_rows, strict=False):
        table.add_row(*(Text(formatting.plain(name)) for name in names or [title]), *row)
    if hidden:
        table.add_row(*([f"and {hidden:,} more"] + [""] * (max(1, len(by)) - 1 + len(columns))), style="dim")
    if len(lines) + hidden > 1:
        table.add_row("total", *([""] * (len(by) - 1)), *cells_of_rows[-1], style="bold")
    return table


def fitting(sizes: Mapping[str, int], width: int, droppable: Sequence[str], *, gap: int = 1) -> set[str]:
    """Return the columns that fit into the width, after dropping those of ``droppable`` in their order."""
    kept = dict(sizes)
    for name in droppable:
        if sum(kept.values()) + gap * len(kept) <= width:
            break
        kept.pop(name, None)
    return set(kept)


def footnotes(total: Aggregate) -> list[str]:
    """Return notes on the calls that the figures leave out, with reasons."""
    notes = []
    if total.blocked:
        were = "was" if total.blocked == 1 else "were"
        notes.append(f"{formatting.counted(total.blocked, 'call')} {were} blocked by a budget and {were} not sent.")
    if total.unpriced:
        reasons = sorted(total.reasons.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{_short(reason)} {formatting.count(number)}" for reason, number in reasons[:4])
        if "no_usage" in total.reasons:
            listed += " (for OpenAI streams, LLMTRACE_STREAM_USAGE=auto requests the usage)"
        share = formatting.share(total.unpriced, total.calls)
        notes.append(f"{share} of the calls could not be priced and are excluded: {listed}.")
    if total.estimated:
        more = f", about {formatting.money(total.estimated_cost / 1e12)} more" if total.estimated_cost else ""
        notes.append(f"{formatting.share(total.estimated, total.calls)} have estimated usage{more}.")
    if total.cut:
        ends = sorted((end, number) for end, number in total.ends.items() if end != "exhausted")
        listed = ", ".join(f"{_short(end)} {formatting.count(number)}" for end, number in ends[:6])
        notes.append(
            f"{formatting.share(total.cut, total.streamed)} of the streams did not run to their end: {listed}."
        )
    return notes


def _short(word: str) -> str:
    """Shorten and sanitize a word from a span, which may come from other software."""
    return formatting.plain(word if len(word) <= 40 else f"{word[:39]}…")
