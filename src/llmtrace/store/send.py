"""Spans of the store on to an OTLP endpoint, each once, however often it is asked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from .read import spans_after
from .schema import StoreError
from .span_codec import StoredSpan

__all__ = ["readable", "send"]

_BATCH = 512


def send(
    store: sqlite3.Connection,
    exporter: SpanExporter,
    address: str,
    *,
    since: int | None = None,
    until: int | None = None,
    again: bool = False,
    told: Callable[[int], None] = lambda count: None,
) -> int:
    """Send what was not sent to that address before. How many spans went.

    Args:
        store: A connection that may write: it keeps how far it got.
        exporter: Where to.
        address: Under which name to remember how far this got.
        since: Only spans that began from then on, in microseconds; how far it got is then neither used nor kept.
        until: Only up to then.
        again: Also what was sent before.
        told: Called with the number of spans sent so far.

    Raises:
        StoreError: The endpoint takes no more. What it took is remembered.
    """
    whole = since is None and until is None
    mark = f"sent to {address}"
    row = store.execute("SELECT value FROM meta WHERE name = ?", (mark,)).fetchone()
    number = row[0] if row is not None and whole and not again else 0
    count = 0
    while True:
        batch = list(spans_after(store, number, since=since, until=until, limit=_BATCH))
        if not batch:
            return count
        if exporter.export([readable(span) for _, span in batch]) is not SpanExportResult.SUCCESS:
            said = getattr(exporter, "said", "")
            answer = f" (last answer: {said})" if said else ""
            raise StoreError(
                f"{address} did not take the spans, {count:,} were sent; run it again for the rest{answer}"
            )
        number = batch[-1][0]
        count += len(batch)
        if whole:
            store.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (mark, number))
        told(count)


def readable(span: StoredSpan) -> ReadableSpan:
    """The span as the SDK's exporters take it."""
    return ReadableSpan(
        name=span.name,
        context=_context(span.trace_id, span.span_id, span.state),
        parent=None if span.parent_id is None else _context(span.trace_id, span.parent_id, remote=span.remote),
        resource=Resource(dict(span.resource)),
        attributes=dict(span.attributes),
        events=[Event(event["name"], event["attributes"], event["time"]) for event in span.events],
        links=[Link(_context(link["trace_id"], link["span_id"]), link["attributes"]) for link in span.links],
        kind=SpanKind[span.kind],
        status=Status(StatusCode[span.status], span.status_text),
        start_time=span.started,
        end_time=span.ended,
        instrumentation_scope=InstrumentationScope(*span.scope),
    )


def _context(trace: str, span: str, state: str = "", *, remote: bool = False) -> SpanContext:
    return SpanContext(
        int(trace, 16),
        int(span, 16),
        is_remote=remote,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]) if state else None,
    )
