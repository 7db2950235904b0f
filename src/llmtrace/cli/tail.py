"""``llmtrace tail``."""

from __future__ import annotations

import time
from datetime import datetime

import click
from rich.console import Console
from rich.text import Text

from ..report import formatting
from ..report.trace import about
from ..store.columns import is_call, measures_of
from ..store.read import last_span, spans_after
from ..store.span_codec import StoredSpan
from ..telemetry import names
from .terminal import console, open_store, store_option

__all__ = ["command"]

_PAUSE = 0.25
_FIGURES = 26
"""Columns of the time, the duration and the cost, with the blanks between."""
_LEAST_NAME = 12


@click.command("tail")
@click.option("-n", "lines", default=10, show_default=True, type=click.IntRange(0, 10**6),
              help="So many calls back.")  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Print those, and stop.")
@store_option
def command(lines: int, no_follow: bool, store: str | None) -> int:
    """Calls as they end. Control-C stops it."""
    out = console()
    with open_store(store) as connection:
        # Workflows, tools and searches are passed over, so look back further than so many spans.
        last = last_span(connection)
        back = (
            [each for each in spans_after(connection, max(0, last - 20 * lines)) if is_call(each[1])] if lines else []
        )
        for _, span in sorted(back[-lines:], key=_ended):
            _print(out, span)
        if not last and no_follow:
            raise click.ClickException("the store is empty")
        while not no_follow:
            # Several processes write in batches: within what has come, the order is that of the ends.
            for number, span in sorted(spans_after(connection, last), key=_ended):
                last = max(last, number)
                if is_call(span):
                    _print(out, span)
            time.sleep(_PAUSE)
    return 0


def _ended(row: tuple[int, StoredSpan]) -> int:
    return row[1].ended


def _print(out: Console, span: StoredSpan) -> None:
    told = measures_of(span)
    cost = told["cost"]
    when = datetime.fromtimestamp(span.ended / 1e9)
    lasted = formatting.seconds((span.ended - span.started) / 1e9)
    tokens = f" {formatting.count(told['input'])}>{formatting.count(told['output'])}".rjust(13)
    room = out.width - _FIGURES - len(tokens)
    if room < _LEAST_NAME:
        tokens, room = "", room + len(tokens)  # figures are shown whole, or not at all
    room = max(4, min(28, room))
    line = Text(f"{when:%H:%M:%S} ", style="dim")
    line.append(f"{_cut(formatting.plain(span.name), room)} ", style="red" if span.status == "ERROR" else "")
    line.append(f"{lasted:>6}{tokens} {'-' if cost is None else formatting.money(cost / 1e12):>9}")
    rest = [str(span.attributes[names.FEATURE])] if names.FEATURE in span.attributes else []
    notes = formatting.plain(" · ".join([*rest, *about(span)]))
    if notes and line.cell_len + 2 < out.width:
        line.append(f" {notes}", style="dim")
        line.truncate(out.width, overflow="ellipsis")
    out.print(line)


def _cut(text: str, width: int) -> str:
    shown = Text(text)
    shown.truncate(width, overflow="ellipsis", pad=True)
    return shown.plain
