"""``llmtrace report``."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import click

from ..report import formatting
from ..report.aggregate import Aggregate, Report, report
from ..report.select import QueryError, Selection, dimensions, selection
from .terminal import console, echo, echo_json, open_store, progress, selection_options

_NO_CALLS = "no calls match: widen --since or --where; llmtrace store shows what is stored"
_HELP = """
Show cost and latency by feature, model, user or prompt.

\b
llmtrace report --by model,day --since 7d
llmtrace report --by version --where prompt=answer --html report.html
"""


@click.command("report", help=_HELP)
@click.option("--by", default="feature", metavar="NAMES", show_default=True,
              help="feature, model, provider, prompt, version, user, session, tenant, hour, day, week, month, tag, "
                   "tag.KEY, outcome ..., or several, separated by commas.")  # fmt: skip
@click.option("--top", default=20, show_default=True, type=click.IntRange(0, 10**6),
              help="Maximum rows (0 = all).")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print all figures as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print all figures as CSV.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write an HTML page with charts.")
@selection_options
def command(
    by: str, top: int, as_json: bool, as_csv: bool, page: Path | None, store: str | None, **window: Any
) -> None:
    """Print a report, or write it as a page."""
    by_names = dimensions([by])
    chosen = selection(**window)
    if page is not None:
        return _page(page, store, chosen, by_names)
    all_rows = as_json or as_csv
    with open_store(store) as connection, progress("Reading the store"):
        result = report(connection, chosen, by_names, top=0 if all_rows else top)
    if as_json:
        echo_json({"by": by_names, "rows": _rows(result, by_names), "total": result.total.as_dict()}, indent=2)
    elif as_csv:
        _csv(_rows(result, by_names), by_names, result.total)
    elif not result.rows:
        raise QueryError(_NO_CALLS)
    else:
        _print(result, by_names)


def _rows(result: Report, by: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{**dict(zip(by, key, strict=True)), **group.as_dict()} for key, group in result.rows]


def _csv(rows: list[dict[str, Any]], by: tuple[str, ...], total: Aggregate) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = [*by, *total.as_dict()]
    writer.writerow(map(formatting.cell, names))
    writer.writerows([formatting.cell(row[name]) for name in names] for row in rows)


def _print(result: Report, by: tuple[str, ...]) -> None:
    from ..report.table import footnotes, tables

    out = console()
    out.print(tables(result, by, width=out.width))
    notes = footnotes(result.total)
    if notes:
        out.print()
    for note in notes:
        out.print(note, style="dim", soft_wrap=False)


def _page(page: Path, store: str | None, chosen: Selection, by: tuple[str, ...]) -> None:
    from ..report.html import render

    with open_store(store) as connection, progress("Reading the store"):
        text = render(connection, chosen, by)
    if text is None:
        raise QueryError(_NO_CALLS)
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise QueryError(f"cannot write {page}: {error.strerror}") from error
    echo(f"wrote {page.resolve().as_uri()}")
