"""Complete spans and traces, read from the store."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .schema import StoreError
from .span_codec import StoredSpan, unpack

_TRACE = "SELECT id, lower(hex(trace)), started, ended, spans, calls, errors, tokens, cost, name FROM traces"
_SPANS = """
SELECT s.id, t.trace, s.span, s.parent, s.started, s.duration, r.json, s.body FROM spans s
JOIN traces t ON t.id = s.trace JOIN resources r ON r.id = s.resource
"""
_ORDERS = {"last": "ended", "slowest": "ended - started", "most_expensive": "cost"}


class Window(NamedTuple):
    """A time window in microseconds since the epoch, its end exclusive."""

    since: int = 0
    until: int = 2**63 - 1


ALL_TIMES = Window()


@dataclass(frozen=True, slots=True)
class TraceRow:
    """Summary of one trace. Times are microseconds, cost is in trillionths of a dollar."""

    row: int
    trace_id: str
    started: int
    ended: int
    spans: int
    calls: int
    errors: int
    tokens: int
    cost: int
    name: str | None


def find_trace(store: sqlite3.Connection, trace_id: str) -> TraceRow:
    """Find a trace by its id or the first digits of its id.

    Raises:
        StoreError: The id is not valid, or matches no trace or several.
    """
    prefix = trace_id.strip().lower().removeprefix("0x")
    if not re.fullmatch(r"[0-9a-f]{4,32}", prefix):
        raise StoreError(f"{trace_id!r} is not a valid trace id: give its first 4 to 32 hexadecimal digits")
    # Search a range of the index: each missing digit lies between 0 and f.
    low, high = (bytes.fromhex(prefix.ljust(32, digit)) for digit in "0f")
    rows = store.execute(f"{_TRACE} WHERE trace BETWEEN ? AND ? LIMIT 2", (low, high)).fetchall()
    if not rows:
        raise StoreError(f"there is no trace {prefix} in the store")
    if len(rows) > 1:
        raise StoreError(f"several traces begin with {prefix}; give more digits")
    return TraceRow(*rows[0])


def traces_by(store: sqlite3.Connection, order: str, window: Window = ALL_TIMES, *, limit: int = 1) -> list[TraceRow]:
    """Return the ``last``, ``slowest`` or ``most_expensive`` traces that contain a call."""
    query = f"{_TRACE} WHERE calls > 0 AND started >= ? AND started < ? ORDER BY {_ORDERS[order]} DESC LIMIT ?"
    return [TraceRow(*row) for row in store.execute(query, (*window, limit))]


def traces_of(store: sqlite3.Connection, calls: Sequence[tuple[int, int]], *, limit: int) -> list[TraceRow]:
    """Return the traces of calls, most expensive first. A call is identified by its dimensions id and start time."""
    marks = ", ".join(["(?, ?)"] * len(calls))
    matching = f"SELECT span FROM calls WHERE (dimensions, started) IN (VALUES {marks})"
    query = f"{_TRACE} WHERE id IN (SELECT trace FROM spans WHERE id IN ({matching})) ORDER BY cost DESC LIMIT ?"
    return [TraceRow(*row) for row in store.execute(query, [*(value for call in calls for value in call), limit])]


def spans_of(store: sqlite3.Connection, trace: TraceRow) -> list[StoredSpan]:
    """Return the spans of one trace in order of their start."""
    rows = store.execute(f"{_SPANS} WHERE s.trace = ? ORDER BY s.started, s.id", (trace.row,))
    return [span for _, span in map(_span, rows)]


def last_span(store: sqlite3.Connection) -> int:
    """Return the row id of the newest span, or 0 for an empty store."""
    number: int = store.execute("SELECT coalesce(max(id), 0) FROM spans").fetchone()[0]
    return number


def spans_after(
    store: sqlite3.Connection, number: int, window: Window = ALL_TIMES, *, limit: int = -1
) -> Iterator[tuple[int, StoredSpan]]:
    """Yield the spans that were written after row ``number``, with their row ids, in the order of writing."""
    query = f"{_SPANS} WHERE s.id > ? AND s.started >= ? AND s.started < ? ORDER BY s.id LIMIT ?"
    yield from map(_span, store.execute(query, (number, *window, limit)))


def _span(row: tuple[Any, ...]) -> tuple[int, StoredSpan]:
    number, trace, span, parent, started, duration, resource, body = row
    content = unpack(body)
    first, last = content.get("ns", (0, 0))
    status, status_text = content.get("status", ("UNSET", None))
    return number, StoredSpan(
        trace_id=trace.hex(),
        span_id=span.hex(),
        parent_id=None if parent is None else parent.hex(),
        name=content["name"],
        started=started * 1000 + first,
        ended=(started + duration) * 1000 + last,
        kind=content["kind"],
        status=status,
        status_text=status_text,
        attributes=content["attributes"],
        events=tuple(content.get("events", ())),
        links=tuple(content.get("links", ())),
        scope=(content["scope"][0], content["scope"][1]),
        resource=json.loads(resource),
        state=content.get("state", ""),
        remote=content.get("remote", False),
    )
