"""``llmtrace report``."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..report.select import Condition, Selection, WrongQuestion, dimensions, selection
from ..report.tally import Key, Tally, dearest, summed, tally
from .terminal import choosing, console, opened, working

__all__ = ["command"]


@click.command("report")
@click.option("--by", default="feature", metavar="NAMES", show_default=True,
              help="feature, model, provider, prompt, version, user, session, tenant, hour, day, week, month, tag, "
                   "tag.KEY, outcome ... or several, with commas.")  # fmt: skip
@click.option("--top", default=20, show_default=True, type=click.IntRange(0), help="So many lines; 0 for all.")
@click.option("--json", "as_json", is_flag=True, help="All of the figures, as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="All of the figures, as CSV.")
@click.option("--html", "page", type=click.Path(dir_okay=False, path_type=Path), help="Write one page with charts.")
@choosing
@click.pass_context
def command(
    ctx: click.Context,
    /,
    by: str,
    top: int,
    as_json: bool,
    as_csv: bool,
    page: Path | None,
    store: str | None,
    **window: Any,
) -> None:
    """What each feature, model, user or prompt costs, and how its streams behave.

    \b
    llmtrace report --by model,day --since 7d
    llmtrace report --by version --where prompt=answer --html report.html
    """
    by_names = dimensions([by])
    chosen = selection(**window)
    if page is not None:
        ctx.exit(_page(page, store, chosen, by_names))
    with opened(store) as connection, working("Reading the store"):
        if "session" in by_names and top:
            # There may be as many as there are calls: those that cost most, first.
            found = tuple(dearest(connection, chosen, "session", top))
            narrowed = replace(chosen, where=(*chosen.where, Condition("session", "", among=found)))
            groups, _ = summed(connection, narrowed, by_names)
            whole = tally(connection, chosen).get((), Tally())
        else:
            groups, whole = summed(connection, chosen, by_names)
    if as_json:
        print(json.dumps({"by": by_names, "rows": _rows(groups, by_names), "total": whole.as_dict()}, indent=2))
    elif as_csv:
        _csv(_rows(groups, by_names), by_names, whole)
    elif not groups:
        ctx.exit(_nothing())
    else:
        _print(groups, whole, by_names, top)


def _nothing() -> int:
    print("llmtrace: no calls there; widen --since or --where, or see what there is: llmtrace store", file=sys.stderr)
    return 2


def _rows(groups: dict[Key, Tally], by: tuple[str, ...]) -> list[dict[str, Any]]:
    from ..report.table import ranked

    return [{**dict(zip(by, key, strict=True)), **group.as_dict()} for key, group in ranked(groups, by)]


def _csv(rows: list[dict[str, Any]], by: tuple[str, ...], whole: Tally) -> None:
    writer = csv.DictWriter(sys.stdout, [*by, *whole.as_dict()], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print(groups: dict[Key, Tally], whole: Tally, by: tuple[str, ...], top: int) -> None:
    from ..report.table import footnotes, ranked, tables

    out = console()
    rows = ranked(groups, by)
    shown = rows[:top] if top else rows
    out.print(tables(shown, whole, by, width=out.width, hidden=len(rows) - len(shown)))
    notes = footnotes(whole)
    if notes:
        out.print()
    for note in notes:
        out.print(note, style="dim", soft_wrap=False)


def _page(page: Path, store: str | None, chosen: Selection, by: tuple[str, ...]) -> int:
    from ..report.html import render

    with opened(store) as connection, working("Reading the store"):
        text = render(connection, chosen, by)
    if text is None:
        return _nothing()
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongQuestion(f"cannot write {page}: {error.strerror}") from error
    print(f"wrote {page.resolve().as_uri()}")
    return 0
