"""``llmtrace trace``."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..report.select import selection
from ..store.read import find_trace, spans_of, traces_by
from .terminal import console, echo_json, open_store, store_option


@click.command("trace")
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--last", "order", flag_value="last", help="Show the trace that ended last (default).")
@click.option("--slowest", "order", flag_value="slowest", help="Show the slowest trace.")
@click.option("--most-expensive", "order", flag_value="most_expensive", help="Show the most expensive trace.")
@click.option("--since", metavar="TIME", help="Only traces that start at this time or later.")
@click.option("--until", metavar="TIME", help="Only traces that start before this time.")
@click.option("--json", "as_json", is_flag=True, help="Print the spans as JSON lines.")
@store_option
def command(
    trace_id: str | None, order: str | None, since: str | None, until: str | None, as_json: bool, store: str | None
) -> int:
    """Show one trace as a tree with a waterfall. ID may be the first digits of a trace id."""
    chosen = selection(since, until)
    with open_store(store) as connection:
        if trace_id is not None:
            row = find_trace(connection, trace_id)
        else:
            rows = traces_by(connection, order or "last", chosen.window)
            if not rows:
                raise click.ClickException("no trace matches: widen --since, or run an instrumented program first")
            row = rows[0]
        spans = spans_of(connection, row)
    if as_json:
        for span in spans:
            echo_json(asdict(span))
        return 0
    from ..report.trace import waterfall

    out = console()
    out.print(waterfall(row, spans, width=out.width))
    return 0
