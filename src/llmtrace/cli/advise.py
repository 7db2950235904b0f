"""``llmtrace advise``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from ..report import formatting
from ..report.advise import Advice, advise
from ..report.calls import carried_out, exact_sum, read
from ..report.select import QueryError, selection
from ..store.columns import PICO
from .price_list import open_catalog
from .terminal import console, echo_json, open_store, progress, selection_options

__all__ = ["command"]


@click.command("advise")
@click.option("--json", "as_json", is_flag=True, help="The findings, as JSON.")
@selection_options
def command(as_json: bool, store: str | None, **window: Any) -> int:
    """Where the calls themselves say that money can be saved.

    Works on hashes of the requests; the content need not be kept.
    """
    chosen = selection(**window)
    with open_store(store) as connection, progress("Reading the store"):
        calls = carried_out(read(connection, chosen, likeness=True))
        found = advise(calls, open_catalog())
        spent = exact_sum(calls["cost"])[0] if (calls["cost"] >= 0).any() else None
    if not len(calls):
        raise QueryError("no calls there; widen --since or --where")
    if as_json:
        echo_json([_plain(each) for each in found], indent=2)
        return 0
    out = console()
    amount = "an unknown amount" if spent is None else formatting.money(spent / PICO)
    out.print(f"{formatting.counted(len(calls), 'call')} for {amount}. Savings overlap; they are of this window.\n")
    if not found:
        out.print("Nothing to say.")
    for each in found:
        _print(out, each, spent or 0)
    return 0


def _plain(advice: Advice) -> dict[str, Any]:
    found = asdict(advice)
    found["saving_usd"] = None if advice.saving is None else advice.saving / PICO
    del found["saving"]
    found["where"] = [
        {"where": name, "calls": calls, "saving_usd": None if saving is None else saving / PICO}
        for name, calls, saving in advice.where
    ]
    return found


def _print(out: Console, advice: Advice, cost: int) -> None:
    head = Text()
    if advice.saving is not None:
        head.append(formatting.money(advice.saving / PICO), style="bold green")
        head.append(f" ({formatting.share(advice.saving, cost)})  " if cost else "  ")
    head.append(f"{formatting.count(advice.calls)} {formatting.plain(advice.title)}", style="bold")
    out.print(head)
    out.print(Text(f"  {formatting.plain(advice.do)}"))
    for name, calls, saving in advice.where[:3]:
        money = "" if saving is None else formatting.money(saving / PICO)
        counted = f"{formatting.count(calls):>8} {'call ' if calls == 1 else 'calls'}"
        out.print(Text(f"  {formatting.plain(name)[:48]:<48} {counted} {money:>12}", style="dim"))
    if advice.examples:
        out.print(Text(f"  see: llmtrace trace {advice.examples[0][:12]}", style="dim"))
    out.print()
