"""``llmtrace advise``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from .._decimal import PICO
from ..report import formatting
from ..report.advise import Advice, advise
from ..report.calls import carried_out, exact_sum, read
from ..report.select import QueryError, selection
from .price_list import CatalogPrices
from .terminal import console, echo_json, open_store, progress, selection_options


@click.command("advise")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as JSON.")
@selection_options
def command(as_json: bool, store: str | None, **window: Any) -> int:
    """Show where money can be saved.

    Compares hashes of requests: recorded prompts and responses are not needed.
    """
    chosen = selection(**window)
    with open_store(store) as connection, progress("Reading the store"):
        calls = carried_out(read(connection, chosen, similarity=True))
        found = advise(calls, CatalogPrices())
        spent = exact_sum(calls["cost"])[0] if (calls["cost"] >= 0).any() else None
    if not len(calls):
        raise QueryError("no calls match: widen --since or --where")
    if as_json:
        echo_json([_as_json(item) for item in found], indent=2)
        return 0
    out = console()
    amount = "an unknown amount" if spent is None else formatting.money(spent / PICO)
    out.print(f"{formatting.counted(len(calls), 'call')} for {amount}. Savings overlap. They cover this time window.\n")
    if not found:
        out.print("No advice.")
    for item in found:
        _print(out, item, spent or 0)
    return 0


def _as_json(advice: Advice) -> dict[str, Any]:
    finding = asdict(advice)
    finding["saving_usd"] = None if advice.saving is None else advice.saving / PICO
    del finding["saving"]
    finding["where"] = [
        {"where": name, "calls": calls, "saving_usd": None if saving is None else saving / PICO}
        for name, calls, saving in advice.where
    ]
    return finding


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
        number = f"{formatting.count(calls):>8} {'call ' if calls == 1 else 'calls'}"
        out.print(Text(f"  {formatting.plain(name)[:48]:<48} {number} {money:>12}", style="dim"))
    if advice.examples:
        out.print(Text(f"  see: llmtrace trace {advice.examples[0][:12]}", style="dim"))
    out.print()
