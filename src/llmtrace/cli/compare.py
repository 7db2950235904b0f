"""``llmtrace compare``."""

from __future__ import annotations

import sqlite3
import sys
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from ..report import formatting
from ..report.compare import Change, Sample, as_dict, compare, exceeded, parse_limit, sample
from ..report.select import QueryError, Selection, selection, shortened
from ..report.table import fitting
from .terminal import console, echo, echo_json, open_store, progress, selection_options

_LESS_IS_BETTER = frozenset({"cost", "latency", "first token", "error", "refusal", "finish length", "finish error"})


_HELP = """
Compare two time windows, prompt versions or models.

BEFORE and AFTER are conditions, separated by commas, or time windows:

\b
llmtrace compare version=3 version=4 --where prompt=answer
llmtrace compare model=gpt-4.1 model=gpt-4.1-mini --where feature=search
llmtrace compare 14d..7d 7d..now --fail-if 'cost +10 %'

A limit is exceeded if the change is larger and is statistically significant:
its 95 % interval does not include "no change".
"""


@click.command("compare", help=_HELP)
@click.argument("before")
@click.argument("after")
@click.option("--fail-if", "limits", multiple=True, metavar="LIMIT",
              help="'cost +10 %', or 'error +1 %' (rates: percentage points). Exit with status 1 if exceeded. "
                   "Repeatable.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
@selection_options
def command(before: str, after: str, limits: tuple[str, ...], as_json: bool, store: str | None, **window: Any) -> int:
    """Compare two selections of calls."""
    parsed_limits = [parse_limit(text) for text in limits]
    sides = [_side(text, window) for text in (before, after)]
    with open_store(store) as connection, progress("Reading the store"):
        first, second = (_sample(connection, side, text) for side, text in zip(sides, (before, after), strict=True))
    changes = compare(first, second)
    exceeded_limits = exceeded(parsed_limits, changes)
    if as_json:
        result = {"calls": [first.calls, second.calls], "changes": list(map(as_dict, changes))}
        echo_json({**result, "failed": [limit.text for limit in exceeded_limits]}, indent=2)
    else:
        _print(before, after, first, second, changes)
    for limit in exceeded_limits:
        echo(f"llmtrace: exceeded the limit {limit.text!r}", file=sys.stderr)
    return 1 if exceeded_limits else 0


def _side(text: str, window: dict[str, Any]) -> Selection:
    if ".." in text and "=" not in text:
        since, _, until = text.partition("..")
        return selection(since or None, until or None, window["where"])
    if "=" not in text:
        raise QueryError(
            f"{shortened(text)!r} is not a valid side to compare: use version=3, or a time window: 14d..7d"
        )
    return selection(window["since"], window["until"], (*window["where"], *text.split(",")))


def _sample(connection: sqlite3.Connection, side: Selection, text: str) -> Sample:
    result = sample(connection, side)
    if not result.calls:
        raise QueryError(f"no calls match {shortened(text)}: see llmtrace report --by model,version")
    return result


_OPTIONAL_COLUMNS = ("interval", "verdict", "change")
_MIN_TITLE_WIDTH = 12
_TITLES = {"cost": "cost/call", "input": "input tokens", "output": "output tokens", "error": "errors",
           "refusal": "refusals"}  # fmt: skip


def _print(before: str, after: str, first: Sample, second: Sample, changes: list[Change]) -> None:
    out = console()
    rows = [(("calls", f"{first.calls:,}", f"{second.calls:,}", "", "", ""), "")]
    for change in changes:
        word, style = _verdict(change)
        interval = "-" if change.low is None else f"{_signed(change, change.low)} .. {_signed(change, change.high)}"
        title = formatting.plain(_TITLES.get(change.metric, change.metric))
        rows.append(((title, *change.shown, _signed(change, change.change), interval, word), style))
    headings = ("", formatting.plain(before), formatting.plain(after), "change", "95% interval", "")
    least = [max(len(cells[at]) for cells, _ in rows) for at in range(6)]
    titles = min(least[0], _MIN_TITLE_WIDTH)
    sizes = {"before": max(6, least[1]), "after": max(6, least[2]), "change": max(6, least[3])}
    sizes |= {"interval": max(12, least[4]), "verdict": least[5]}
    kept = fitting(sizes, out.width - titles, _OPTIONAL_COLUMNS, gap=2)
    # Headings and titles share the width that the figures leave.
    left = out.width - titles - sum(sizes[name] + 2 for name in kept)
    more = max(0, min(left // 3, 16 - min(sizes["before"], sizes["after"])))
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name, heading in zip(("title", *sizes), headings, strict=True):
        if name == "title":
            table.add_column("", no_wrap=True, overflow="ellipsis", max_width=titles + max(0, left - 2 * more))
        elif name in kept:
            wide = sizes[name] + (more if name in ("before", "after") else 0)
            table.add_column(Text(heading), justify="left" if name == "verdict" else "right", no_wrap=True,
                             overflow="ellipsis", min_width=sizes[name], max_width=wide)  # fmt: skip
    for cells, style in rows:
        shown = [cell for name, cell in zip(("title", *sizes), cells, strict=True) if name == "title" or name in kept]
        table.add_row(*map(Text, shown), style=style)
    out.print(table)
    out.print("\ncost and tokens: mean per call; times: median; rates change in percentage points (pp)", style="dim")


def _signed(change: Change, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:+.1f}{'pp' if change.kind == 'rate' else '%'}"


def _verdict(change: Change) -> tuple[str, str]:
    if change.low is None:
        return "too few", "dim"
    if not change.clear:
        return "", ""
    if change.metric not in _LESS_IS_BETTER:
        return "differs", "yellow"
    return ("worse", "red") if (change.change or 0) > 0 else ("better", "green")
