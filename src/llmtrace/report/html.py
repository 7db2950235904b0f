"""The report as one self-contained HTML page, without network access or scripts."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from .. import __version__
from .._decimal import PICO, from_pico
from ..store.read import TraceRow, traces_by, traces_of
from . import formatting
from .aggregate import Aggregate, aggregate, costs, overall
from .calls import CallTable, read
from .charts import COLOURS, bars, stack
from .distribution import Distribution
from .formatting import markup
from .select import Selection
from .style import STYLE
from .table import ABSENT, BLOCKED, COST_COLUMNS, TIME_COLUMNS, Column, footnotes

__all__ = ["render"]

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
    tables = [_section(f"By {', '.join(requested)}", calls, total, requested)]
    for names in (("feature",), ("model",), ("prompt", "version")):
        if names[0] not in requested:
            tables.append(_section(f"By {', '.join(names)}", calls, total, names, least=2))
    parts = [
        _head(calls, chosen, total),
        _tiles(total),
        _cost_over_time(calls),
        '<div class="pair">',
        _histogram("Latency", total.duration, "call"),
        _histogram("Time to first token", total.first_token, "stream"),
        "</div>",
        *tables,
        _most_expensive(calls, chosen),
    ]
    return _PAGE.format(style=STYLE, body="\n".join(part for part in parts if part), version=__version__)


_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>LLM calls</title>
<style>{style}</style>
</head>
<body>
<main>
{body}
<footer>llmtrace {version}. Costs are in USD. Times are measured by the caller. Percentiles are exact.</footer>
</main>
</body>
</html>
"""


def _head(calls: CallTable, chosen: Selection, total: Aggregate) -> str:
    first, last = _window(calls)
    parts = [f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"]
    parts += [
        f"{condition.dimension} {'=' if condition.wanted else '≠'} {condition.value or ABSENT}"
        for condition in chosen.where
    ]
    notes = "".join(f"<li>{markup(note)}</li>" for note in footnotes(total))
    return f"<header><h1>LLM calls</h1><p>{markup(' · '.join(parts))}</p></header>" + (
        f'<ul class="notes">{notes}</ul>' if notes else ""
    )


def _window(calls: CallTable) -> tuple[datetime, datetime]:
    first, last = int(calls["started"].min()), int(calls["started"].max())
    return datetime.fromtimestamp(first / 1e6, UTC), datetime.fromtimestamp(last / 1e6, UTC)


def _tiles(total: Aggregate) -> str:
    def time(values: Distribution, percent: int) -> str:
        value = values.quantile(percent)
        return formatting.seconds(None if value is None else value / 1e6)

    cost = formatting.money(total.dollars) if total.priced else "-"
    per_call = formatting.money(total.dollars_per_call)
    blocked = f", {total.blocked:,} blocked" if total.blocked else ""
    tiles = (
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
    cells = "".join(
        f"<li><b>{markup(a)}</b><span>{markup(b)}</span><small>{markup(c)}</small></li>" for a, b, c in tiles
    )
    return f'<ul class="tiles">{cells}</ul>'


def _cost_over_time(calls: CallTable) -> str:
    first, last = _window(calls)
    days = (last - first) / timedelta(days=1)
    unit = "hour" if days <= 2 else "day" if days <= 92 else "week" if days <= 700 else "month"
    features: dict[str, dict[str, float]] = {}
    for (when, feature), cost in costs(calls, (unit, "feature")).items():
        features.setdefault(feature or ABSENT, {})[when or ""] = cost / PICO
    labels = _time_labels(unit, first, last)
    names = sorted(features, key=lambda name: -sum(features[name].values()))
    series = [(name, [features[name].get(label, 0.0) for label in labels]) for name in names[:COLOURS]]
    if names[COLOURS:]:
        rest = [sum(features[name].get(label, 0.0) for name in names[COLOURS:]) for label in labels]
        series.append(("others", rest))
    if not any(any(values) for _, values in series):
        return ""
    shown = [label[5:] if unit in ("day", "week") else label[5:16] if unit == "hour" else label for label in labels]
    chart = stack(shown, series, formatting.money, f"cost by {unit} and feature")
    return f"<section><h2>Cost by {unit} and feature</h2>{chart}</section>"


def _time_labels(unit: str, first: datetime, last: datetime) -> list[str]:
    """Return all labels of a time axis, those without calls too, in the format of ``group``."""
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if unit == "hour":
        at, step, form = first.replace(minute=0, second=0, microsecond=0), timedelta(hours=1), "%Y-%m-%d %H:00"
    elif unit == "month":
        months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
        return [f"{month // 12}-{month % 12 + 1:02}" for month in months]
    else:
        at = day - timedelta(days=day.weekday() if unit == "week" else 0)
        step, form = timedelta(days=7 if unit == "week" else 1), "%Y-%m-%d"
    labels = []
    while at <= last:
        labels.append(at.strftime(form))
        at += step
    return labels


def _histogram(title: str, values: Distribution, of: str) -> str:
    if not values:
        return ""
    counts = values.counts(_EDGES)
    edges = [formatting.seconds(edge / 1e6) for edge in _EDGES]
    labels = [
        f"under {edges[0]}",
        *(f"{a} to {b}" for a, b in pairwise(edges)),
        f"over {edges[-1]}",
    ]
    chart = bars(counts, labels, _DECADES, f"distribution of {title.lower()}")
    quantiles = " · ".join(f"p{p} {formatting.seconds((values.quantile(p) or 0) / 1e6)}" for p in (50, 95, 99))
    return f"<section><h2>{title}</h2><p>{formatting.counted(len(values), of)} · {quantiles}</p>{chart}</section>"


def _section(title: str, calls: CallTable, total: Aggregate, by: Sequence[str], *, least: int = 1) -> str:
    rows, hidden = aggregate(calls, by, top=_TOP)
    if len(rows) < least:
        return ""
    # Cost comes first: small screens scroll to the other columns.
    columns = (*COST_COLUMNS[-2:], *COST_COLUMNS[:-2], *(BLOCKED if total.blocked else ()), *TIME_COLUMNS)
    heads = "".join(f"<th>{markup(name)}</th>" for name in by) + "".join(
        f'<th class="n">{markup(name)}</th>' for name, _ in columns
    )
    body = "".join(_line([part if part is not None else ABSENT for part in key], group, columns) for key, group in rows)
    if hidden:
        body += f'<tr class="more"><td colspan="{len(by) + len(columns)}">and {hidden:,} more</td></tr>'
    foot = f"<tfoot>{_line(['total', *[''] * (len(by) - 1)], total, columns)}</tfoot>" if len(rows) + hidden > 1 else ""
    return _tabular(title, heads, body, foot)


def _tabular(title: str, heads: str, body: str, foot: str = "", cell_text: str = "") -> str:
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody>{foot}</table>"
    return f'<section><h2>{markup(title)}</h2>{cell_text}<div class="wide">{table}</div></section>'


def _line(names: Sequence[str], group: Aggregate, columns: Sequence[Column]) -> str:
    cells = "".join(f"<td>{markup(name)}</td>" for name in names)
    return f"<tr>{cells}{''.join(_cell(cell, group) for _, cell in columns)}</tr>"


def _cell(cell: Callable[[Aggregate], str], group: Aggregate) -> str:
    return f'<td class="n">{markup(cell(group))}</td>'


def _most_expensive(calls: CallTable, chosen: Selection) -> str:
    if chosen.where:
        top = np.argsort(-calls["cost"], kind="stable")[:200]
        calls_of_traces = zip(calls["dimensions"][top].tolist(), calls["started"][top].tolist(), strict=True)
        rows = traces_of(calls.store, list(calls_of_traces), limit=10)
    else:
        rows = traces_by(calls.store, "most_expensive", since=chosen.since, until=chosen.until, limit=10)
    lines = "".join(_trace(row) for row in rows if row.cost)
    if not lines:
        return ""
    heads = "<th>trace</th><th>began (UTC)</th>" + "".join(
        f'<th class="n">{name}</th>' for name in ("calls", "tokens", "time", "cost")
    )
    hint = "<p>Show one with <code>llmtrace trace ID</code>.</p>"
    return _tabular("Most expensive traces", f"{heads}<th>id</th>", lines, cell_text=hint)


def _trace(row: TraceRow) -> str:
    began = datetime.fromtimestamp(row.started / 1e6, UTC)
    cells = (
        f"{row.calls:,}",
        formatting.count(row.tokens),
        formatting.seconds((row.ended - row.started) / 1e6),
        formatting.money(from_pico(row.cost)),
    )
    numbers = "".join(f'<td class="n">{markup(cell)}</td>' for cell in cells)
    name = f"<td>{markup(row.name or '')}</td><td>{began:%m-%d %H:%M:%S}</td>"
    return f"<tr>{name}{numbers}<td><code>{row.trace_id[:12]}</code></td></tr>"
