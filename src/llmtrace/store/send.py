"""Transfer of stored spans to an OTLP endpoint, each span once."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.span import TraceState

from .read import ALL_TIMES, Window, spans_after
from .schema import StoreError
from .span_codec import StoredSpan

_BATCH = 512


def send(
    store: sqlite3.Connection,
    exporter: SpanExporter,
    address: str,
    window: Window = ALL_TIMES,
    *,
    again: bool = False,
    on_progress: Callable[[int], None] = lambda count: None,
) -> int:
    """Send the spans that were not sent to an address before, or with ``again`` all, and return their number.

    The progress is kept in the store under the address, except for a window. It is passed to ``on_progress``
    too.

    Raises:
        StoreError: The endpoint accepts no more spans. The progress so far is kept.
    """
    complete = window == ALL_TIMES
    progress_key = f"sent to {address}"
    row = store.execute("SELECT value FROM meta WHERE name = ?", (progress_key,)).fetchone()
    number = row[0] if row is not None and complete and not again else 0
    count = 0
    while True:
        batch = list(spans_after(store, number, window, limit=_BATCH))
        if not batch:
            return count
        if exporter.export([readable(span) for _, span in batch]) is not SpanExportResult.SUCCESS:
            message = getattr(exporter, "last_message", "")
            detail = f" (last response: {message})" if message else ""
            raise StoreError(
                f"{address} did not accept the spans: {count:,} were sent; run the command again for the rest{detail}"
            )
        number = batch[-1][0]
        count += len(batch)
        if complete:
            store.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (progress_key, number))
        on_progress(count)


def readable(span: StoredSpan) -> ReadableSpan:
    """Convert a stored span to the SDK's type, which exporters accept."""
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
