"""``llmtrace tail``."""

from __future__ import annotations

import time
from datetime import datetime

import click
from rich.console import Console
from rich.text import Text

from ..report import formatting
from ..report.trace import notes_on
from ..store.columns import is_call, measures_of
from ..store.read import last_span, spans_after
from ..store.span_codec import StoredSpan
from ..telemetry import names
from .terminal import console, open_store, store_option

_POLL_SECONDS = 0.25
_FIGURES_WIDTH = 26
"""Characters of time, duration and cost, with the spaces between them."""
_MIN_NAME_WIDTH = 12


@click.command("tail")
@click.option("-n", "lines", default=10, show_default=True, type=click.IntRange(0, 10**6),
              help="Number of past calls to show.")  # fmt: skip
@click.option("--no-follow", is_flag=True, help="Print these calls and exit.")
@store_option
def command(lines: int, no_follow: bool, store: str | None) -> int:
    """Print calls as they end. Press Control-C to stop."""
    out = console()
    with open_store(store) as connection:
        # Read more spans than ``lines``: workflows, tools and retrievals are skipped.
        last = last_span(connection)
        recent = (
            [each for each in spans_after(connection, max(0, last - 20 * lines)) if is_call(each[1])] if lines else []
        )
        for _, span in sorted(recent[-lines:], key=_ended):
            _print(out, span)
        if not last and no_follow:
            raise click.ClickException("the store is empty")
        while not no_follow:
            # Sort new spans by their end: several processes write in batches.
            for number, span in sorted(spans_after(connection, last), key=_ended):
                last = max(last, number)
                if is_call(span):
                    _print(out, span)
            time.sleep(_POLL_SECONDS)
    return 0


def _ended(row: tuple[int, StoredSpan]) -> int:
    return row[1].ended


def _print(out: Console, span: StoredSpan) -> None:
    measures = measures_of(span)
    cost = measures["cost"]
    ended_at = datetime.fromtimestamp(span.ended / 1e9)
    duration = formatting.seconds((span.ended - span.started) / 1e9)
    tokens = f" {formatting.count(measures['input'])}>{formatting.count(measures['output'])}".rjust(13)
    name_width = out.width - _FIGURES_WIDTH - len(tokens)
    if name_width < _MIN_NAME_WIDTH:
        tokens, name_width = "", name_width + len(tokens)  # drop the tokens: figures are never cut
    name_width = max(4, min(28, name_width))
    line = Text(f"{ended_at:%H:%M:%S} ", style="dim")
    name = Text(formatting.plain(span.name), style="red" if span.status == "ERROR" else "")
    name.truncate(name_width, overflow="ellipsis", pad=True)
    line.append_text(name).append(" ")
    line.append(f"{duration:>6}{tokens} {'-' if cost is None else formatting.money(cost / 1e12):>9}")
    feature = [str(span.attributes[names.FEATURE])] if names.FEATURE in span.attributes else []
    notes = formatting.plain(" · ".join([*feature, *notes_on(span)]))
    if notes and line.cell_len + 2 < out.width:
        line.append(f" {notes}", style="dim")
        line.truncate(out.width, overflow="ellipsis")
    out.print(line)
