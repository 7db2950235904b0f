"""The report as one self-contained HTML page, without network access or scripts. Its templates are in ``templates``."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from .. import __version__
from .._decimal import PICO, from_pico
from ..store.read import TraceRow, traces_by, traces_of
from . import formatting
from .aggregate import Aggregate, aggregate, costs, overall
from .calls import CallTable, read
from .charts import COLOURS, Chart, histogram, stacked_columns
from .distribution import Distribution
from .group import unit_label, unit_number
from .select import Selection
from .table import ABSENT, BLOCKED, COST_COLUMNS, TIME_COLUMNS, footnotes

_TOP = 15
_EDGES = [round(10 ** (power / 5)) for power in range(20, 41)]
"""Edges of the histograms in microseconds, five per decade, from 10 ms to 100 s."""
_DECADES = ((1 / 22, "10ms"), (6 / 22, "100ms"), (11 / 22, "1s"), (16 / 22, "10s"), (21 / 22, "100s"))


def render(store: sqlite3.Connection, chosen: Selection, by: Sequence[str]) -> str | None:
    """Render the page, or return ``None`` if the selection has no calls."""
    requested = tuple(by) or ("feature",)
    calls = read(store, chosen)
    if not len(calls):
        return None
    total = overall(calls)
    tables = [_table(calls, total, requested)]
    for names in (("feature",), ("model",), ("prompt", "version")):
        if names[0] not in requested:
            tables.append(_table(calls, total, names, least=2))
    unit = _unit(calls)
    histograms = (
        _histogram("Latency", total.duration, "call"),
        _histogram("Time to first token", total.first_token, "stream"),
    )
    return _page().render(
        heading=_heading(calls, chosen),
        notes=footnotes(total),
        tiles=_tiles(total),
        unit=unit,
        cost=_cost_over_time(calls, unit),
        colours=COLOURS,
        histograms=[each for each in histograms if each],
        tables=[table for table in tables if table],
        traces=_most_expensive(calls, chosen),
        version=__version__,
    )


def _page() -> Template:
    environment = Environment(
        loader=PackageLoader("llmtrace.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Replace control characters in text, not in what templates have rendered.
        finalize=lambda value: formatting.plain(value) if type(value) is str else value,
    )
    return environment.get_template("page.html.jinja")


def _heading(calls: CallTable, chosen: Selection) -> list[str]:
    first, last = _window(calls)
    conditions = (
        f"{condition.dimension} {'=' if condition.wanted else '≠'} {condition.value or ABSENT}"
        for condition in chosen.where
    )
    return [f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC", *conditions]


def _window(calls: CallTable) -> tuple[datetime, datetime]:
    first, last = int(calls["started"].min()), int(calls["started"].max())
    return datetime.fromtimestamp(first / 1e6, UTC), datetime.fromtimestamp(last / 1e6, UTC)


def _tiles(total: Aggregate) -> Sequence[tuple[str, str, str]]:
    def time(values: Distribution, percent: int) -> str:
        return formatting.seconds(values.seconds(percent))

    cost = formatting.money(total.dollars) if total.priced else "-"
    per_call = formatting.money(total.dollars_per_call)
    blocked = f", {total.blocked:,} blocked" if total.blocked else ""
    return (
        (cost, "cost", f"{per_call} per call"),
        (formatting.count(total.calls), "calls", f"{formatting.share(total.errors, total.calls)} errors{blocked}"),
        (
            formatting.count(total.input),
            "input tokens",
            f"{formatting.share(total.cache_read, total.input)} from cache",
        ),
        (formatting.count(total.output), "output tokens", f"{formatting.share(total.refusals, total.calls)} refused"),
        (time(total.duration, 50), "latency p50", f"p95 {time(total.duration, 95)}"),
        (time(total.first_token, 50), "TTFT p50", f"p95 {time(total.first_token, 95)}"),
    )


def _unit(calls: CallTable) -> str:
    first, last = _window(calls)
    days = (last - first) / timedelta(days=1)
    return "hour" if days <= 2 else "day" if days <= 92 else "week" if days <= 700 else "month"


def _cost_over_time(calls: CallTable, unit: str) -> Chart | None:
    features: dict[str, dict[str, float]] = {}
    for (when, feature), cost in costs(calls, (unit, "feature")).items():
        features.setdefault(feature or ABSENT, {})[when or ""] = cost / PICO
    # All units of the window, those without calls too.
    first, last = (int(unit_number(unit, int(bound))) for bound in (calls["started"].min(), calls["started"].max()))
    labels = list(dict.fromkeys(unit_label(unit, number) for number in range(first, last + 1)))
    names = sorted(features, key=lambda name: -sum(features[name].values()))
    series = [(name, [features[name].get(label, 0.0) for label in labels]) for name in names[:COLOURS]]
    if names[COLOURS:]:
        rest = [sum(features[name].get(label, 0.0) for name in names[COLOURS:]) for label in labels]
        series.append(("others", rest))
    if not any(any(values) for _, values in series):
        return None
    shown = [label[5:] if unit in ("day", "week") else label[5:16] if unit == "hour" else label for label in labels]
    return stacked_columns(shown, series, formatting.money, f"cost by {unit} and feature")


def _histogram(title: str, values: Distribution, of: str) -> tuple[str, str, Chart] | None:
    """Return the title, a summary and the chart of a distribution, ``None`` if it is empty."""
    if not values:
        return None
    edges = [formatting.seconds(edge / 1e6) for edge in _EDGES]
    labels = [f"under {edges[0]}", *(f"{a} to {b}" for a, b in pairwise(edges)), f"over {edges[-1]}"]
    chart = histogram(values.counts(_EDGES), labels, _DECADES, f"distribution of {title.lower()}")
    quantiles = " · ".join(f"p{p} {formatting.seconds(values.seconds(p))}" for p in (50, 95, 99))
    return title, f"{formatting.counted(len(values), of)} · {quantiles}", chart


def _table(calls: CallTable, total: Aggregate, by: Sequence[str], *, least: int = 1) -> dict[str, Any] | None:
    """Return a table of groups, ``None`` if it would have fewer than ``least`` rows."""
    rows, hidden = aggregate(calls, by, top=_TOP)
    if len(rows) < least:
        return None
    # Cost comes first: small screens scroll to the other columns.
    columns = (*COST_COLUMNS[-2:], *COST_COLUMNS[:-2], *(BLOCKED if total.blocked else ()), *TIME_COLUMNS)

    def row(names: Sequence[str | None], group: Aggregate) -> tuple[list[str], list[str]]:
        return [ABSENT if name is None else name for name in names], [cell(group) for _, cell in columns]

    return {
        "by": by,
        "headings": [name for name, _ in columns],
        "rows": [row(key, group) for key, group in rows],
        "hidden": hidden,
        "total": row(["total", *[""] * (len(by) - 1)], total),
    }


def _most_expensive(calls: CallTable, chosen: Selection) -> list[dict[str, Any]]:
    if chosen.where:
        top = np.argsort(-calls["cost"], kind="stable")[:200]
        calls_of_traces = zip(calls["dimensions"][top].tolist(), calls["started"][top].tolist(), strict=True)
        rows = traces_of(calls.store, list(calls_of_traces), limit=10)
    else:
        rows = traces_by(calls.store, "most_expensive", chosen.window, limit=10)
    return [_trace(row) for row in rows if row.cost]


def _trace(row: TraceRow) -> dict[str, Any]:
    figures = (
        f"{row.calls:,}",
        formatting.count(row.tokens),
        formatting.seconds((row.ended - row.started) / 1e6),
        formatting.money(from_pico(row.cost)),
    )
    began = f"{datetime.fromtimestamp(row.started / 1e6, UTC):%m-%d %H:%M:%S}"
    return {"name": row.name or "", "began": began, "figures": figures, "id": row.trace_id[:12]}
