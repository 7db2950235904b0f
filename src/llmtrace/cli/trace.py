"""``llmtrace trace``."""

from __future__ import annotations

from dataclasses import asdict

import click

from ..report.select import selection
from ..store.read import find_trace, spans_of, traces_by
from .terminal import console, echo_json, open_store, store_option

__all__ = ["command"]


@click.command("trace")
@click.argument("trace_id", required=False, metavar="[ID]")
@click.option("--last", "order", flag_value="last", help="The one that ended last (the default).")
@click.option("--slowest", "order", flag_value="slowest", help="The one that took longest.")
@click.option("--dearest", "order", flag_value="dearest", help="The one that cost most.")
@click.option("--since", metavar="TIME", help="Among those that began from then on.")
@click.option("--until", metavar="TIME", help="Up to then.")
@click.option("--json", "as_json", is_flag=True, help="Its spans, as JSON lines.")
@store_option
def command(
    trace_id: str | None, order: str | None, since: str | None, until: str | None, as_json: bool, store: str | None
) -> int:
    """One trace as a tree with a waterfall. ID may be the first digits of a trace id."""
    chosen = selection(since, until)
    with open_store(store) as connection:
        if trace_id is not None:
            found = find_trace(connection, trace_id)
        else:
            rows = traces_by(connection, order or "last", since=chosen.since, until=chosen.until)
            if not rows:
                raise click.ClickException("no trace there; widen --since, or run an instrumented program first")
            found = rows[0]
        spans = spans_of(connection, found)
    if as_json:
        for span in spans:
            echo_json(asdict(span))
        return 0
    from ..report.trace import waterfall

    out = console()
    out.print(waterfall(found, spans, width=out.width))
    return 0
