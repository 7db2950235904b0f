"""Money is the same whatever decimal context the application has set, on every thread and task."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import decimal
import io
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import llmtrace
from llmtrace.budgets.budget import Budget, BudgetExceeded, read
from llmtrace.cli import main
from llmtrace.model import Request, Response
from llmtrace.pricing.money import UNIT
from llmtrace.pricing.money import decimal as usd_of
from llmtrace.pricing.overrides import read as read_prices
from llmtrace.pricing.price import Pricer
from llmtrace.providers._usage import read_stated_cost
from llmtrace.store.columns import PICO
from llmtrace.testing import plugin
from vendor_proxy import PROMPT, Vendor, instrument_spans, make_chat, make_openai

ALL = [decimal.Inexact, decimal.Rounded, decimal.Subnormal, decimal.Underflow, decimal.Overflow, decimal.Clamped,
       decimal.InvalidOperation, decimal.DivisionByZero, decimal.FloatOperation]  # fmt: skip
HOSTILE = {
    "three digits": decimal.Context(prec=3),
    "one digit, rounded up": decimal.Context(prec=1, rounding=decimal.ROUND_UP),
    "everything trapped": decimal.Context(prec=3, traps=ALL),
    "nothing trapped": decimal.Context(prec=2, traps=[]),
    "no room for exponents": decimal.Context(prec=2, Emin=-1, Emax=1, clamp=1, capitals=0, traps=ALL),
}


def money_path() -> Any:
    """Return every amount that the package computes on the way from a price to a report."""
    prices = [
        {"model": "m-*", "input": "1.23456789", "output": "10.000000000000000001", "multiplier": "0.85"},
        {"model": "alias", "alias": "gpt-4o", "multiplier": Decimal("0.123456789")},
    ]
    pricer = Pricer(prices)
    pricer.load()
    pricer._entries.clear()
    answer = Response(model="m-1", usage={"input": 123_457, "output": 987_651})
    own = pricer.price("openai", None, Request("chat", "m-1"), answer)
    catalog = pricer.price("openai", None, Request("chat", "gpt-4o"), Response("gpt-4o", usage=answer.usage))
    stated = [
        read_stated_cost({"cost_in_usd_ticks": 12_345_678_901}),
        read_stated_cost({"cost": 0.0123456789, "is_byok": True, "cost_details": {"upstream_inference_cost": 1.1111}}),
    ]
    refusal = BudgetExceeded(Budget("b", usd="0.00000123456"), "w", 1.23456789e-6, call_cost=1e-7)  # type: ignore[arg-type]
    assert own is not None
    assert catalog is not None
    return [
        own.exact, own.cost(), catalog.exact, catalog.cost(), own.total, stated, str(refusal),
        refusal.budget.limit, usd_of(UNIT // 7), usd_of(UNIT * 10**9 + 1), read_prices(prices),
        read([{"name": "t", "usd": 0.1 + 0.2}])["t"].limit,
        pricer.max_cost("openai", None, Request("chat", "gpt-4o", params={"max_tokens": 1_234})),
    ]  # fmt: skip


@pytest.mark.parametrize("context", HOSTILE.values(), ids=HOSTILE)
def test_amounts_are_the_same_in_a_hostile_context(context: decimal.Context) -> None:
    """Prices, overrides, stated costs, budgets and refusals are equal to the last digit, and nothing is raised."""
    expected = money_path()
    with decimal.localcontext(context):
        assert repr(money_path()) == repr(expected)


def in_thread(work: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def in_task(work: Callable[[], Any]) -> Any:
    async def run() -> Any:
        return work()

    return asyncio.run(run())


@pytest.mark.parametrize("context", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("place", [in_thread, in_task])
def test_calls_cost_the_same_in_a_hostile_context(vendor: Vendor, context: decimal.Context, place: Any) -> None:
    """Records, sums, spans and metrics of real calls agree with those of a default context, budgets included."""
    vendor.response = make_chat("gpt-4o", 123_457, 20)

    def work(mine: decimal.Context) -> Any:
        reader = InMemoryMetricReader()
        exporter = instrument_spans(meter_provider=MeterProvider([reader]))
        llmtrace.budget("b", usd="100.000000000001", per="total", action="block")
        with decimal.localcontext(mine), llmtrace.collect() as calls:
            for _ in range(3):
                make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT, max_tokens=7)
            cost, shown = calls.cost, repr(calls)
            summary = plugin._Summary()
            summary.add("test", calls)
        keys = ("llm.cost.total", "llmtrace.cost.exact", "llmtrace.budget.limit_usd", "llm.cost.prompt")
        spans = [[dict(span.attributes or {}).get(key) for key in keys] for span in exporter.get_finished_spans()]
        data = json.loads(reader.get_metrics_data().to_json())  # type: ignore[union-attr]
        sums = [
            point.get("sum", point.get("value"))
            for group in data["resource_metrics"]
            for scope in group["scope_metrics"]
            for metric in scope["metrics"]
            if "cost" in metric["name"]
            for point in metric["data"]["data_points"]
        ]
        llmtrace.uninstrument()
        return repr((cost, shown, summary.rows, spans, sums))

    expected = place(lambda: work(decimal.Context(prec=28)))
    assert place(lambda: work(context)) == expected
    assert "0.9265275" in expected


def test_report_is_the_same_in_a_hostile_context(vendor: Vendor, tmp_path: Path, capsys: Any) -> None:
    """The local store is read, summed and written as CSV and HTML without the application's context."""
    path = tmp_path / "calls.db"
    llmtrace.instrument(store=str(path), strict=True)
    vendor.response = make_chat("gpt-4o", 123_457, 20)
    with decimal.localcontext(HOSTILE["everything trapped"]):
        for _ in range(3):
            make_openai(vendor).chat.completions.create(model="gpt-4o", messages=PROMPT)
        assert llmtrace.flush(10)
        llmtrace.uninstrument()

    def report(mine: decimal.Context) -> Any:
        with decimal.localcontext(mine), contextlib.suppress(SystemExit):
            main(["report", "--store", str(path), "--csv"])
            main(["report", "--store", str(path)])
        return capsys.readouterr().out

    expected = report(decimal.Context(prec=28))
    assert float(next(csv.DictReader(io.StringIO(expected)))["cost_usd"]) == 0.9265275
    for context in HOSTILE.values():
        assert report(context) == expected


def test_default_context_changed_before_the_import_changes_nothing() -> None:
    """A program may change the contexts that new threads start with, before llmtrace is imported."""
    program = (
        "import decimal, sys\n"
        "decimal.DefaultContext.prec = 2\n"
        "decimal.DefaultContext.rounding = decimal.ROUND_UP\n"
        "decimal.DefaultContext.Emax, decimal.DefaultContext.Emin = 1, -1\n"
        "for trap in decimal.DefaultContext.traps: decimal.DefaultContext.traps[trap] = True\n"
        "decimal.setcontext(decimal.DefaultContext)\n"
        "from llmtrace.pricing.money import UNIT, decimal as usd\n"
        "from llmtrace.pricing.price import Pricer\n"
        "from llmtrace.model import Request, Response\n"
        "answer = Response(model='gpt-4o', usage={'input': 123457, 'output': 20})\n"
        "print(Pricer().price('openai', None, Request('chat', 'gpt-4o'), answer).cost().total, f'{usd(UNIT // 7):f}')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["0.3088425", f"{usd_of(UNIT // 7):f}"], done.stderr
    assert PICO == 10**12
