"""Removal of traces, each with all its spans: the oldest beyond the limits of age and size, and those of one user."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from ..telemetry import names
from .read import spans_after
from .schema import transaction

_MAX_TRACES_PER_TRANSACTION = 100
_FULL_STORE_TARGET = 0.9
"""Share of the size limit to which a full store is pruned, so that not every batch has to prune."""
_ORPHAN_INTERVAL_SECONDS = 3600.0
_ORPHANS = (
    "DELETE FROM dimensions WHERE NOT EXISTS (SELECT 1 FROM calls WHERE calls.dimensions = dimensions.id)",
    "DELETE FROM texts WHERE id NOT IN (SELECT user FROM calls WHERE user IS NOT NULL UNION"
    " SELECT session FROM calls WHERE session IS NOT NULL UNION SELECT labels FROM calls WHERE labels IS NOT NULL)",
)


def prune(connection: sqlite3.Connection, *, max_mb: float, max_days: float, seconds: float = 0.5) -> int:
    """Remove traces beyond these limits, of which 0 is none, for about ``seconds``. Return the number removed."""
    connection.execute("PRAGMA secure_delete = FAST")
    deadline = time.monotonic() + seconds
    removed = 0
    if max_days:
        oldest = int(max(0.0, time.time() - max_days * 86400) * 1e6)
        query = "SELECT id FROM traces WHERE ended < ? ORDER BY ended LIMIT ?"
        removed += _remove_while(connection, query, (oldest, _MAX_TRACES_PER_TRANSACTION), deadline)
    if max_mb and _bytes(connection) > max_mb * 1e6:
        query = "SELECT id FROM traces ORDER BY id LIMIT ?"
        target = max_mb * 1e6 * _FULL_STORE_TARGET
        removed += _remove_while(
            connection, query, (_MAX_TRACES_PER_TRANSACTION,), deadline, lambda: _bytes(connection) > target
        )
    if removed:
        if _orphans_are_due(connection):
            _remove_orphans(connection)
        _shrink(connection)
    return removed


def delete_user(connection: sqlite3.Connection, user: str) -> int:
    """Remove every trace that has a span with this ``user.id``, and return the number removed.

    The freed space is overwritten. Copies may remain in the write-ahead log: see ``empty_log``.
    """
    connection.execute("PRAGMA secure_delete = ON")
    # Read all spans: a tool or a workflow can have a user without a call, and only calls have a column for it.
    spans = (span for _, span in spans_after(connection, 0))
    traces = list({bytes.fromhex(span.trace_id) for span in spans if span.attributes.get(names.USER) == user})
    removed = 0
    for start in range(0, len(traces), _MAX_TRACES_PER_TRANSACTION):
        batch = traces[start : start + _MAX_TRACES_PER_TRANSACTION]
        removed += _remove(connection, f"SELECT id FROM traces WHERE trace IN ({', '.join('?' * len(batch))})", batch)
    if removed:
        _remove_orphans(connection)
        _shrink(connection)
    return removed


def empty_log(connection: sqlite3.Connection) -> bool:
    """Empty the write-ahead log, which holds copies of changed pages. Return False if another program reads it."""
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return not busy


def _remove_while(
    connection: sqlite3.Connection,
    query: str,
    values: Sequence[int],
    deadline: float,
    needed: Callable[[], bool] = lambda: True,
) -> int:
    removed = 0
    while time.monotonic() < deadline and needed():
        count = _remove(connection, query, values)
        removed += count
        if count < _MAX_TRACES_PER_TRANSACTION:
            break
    return removed


def _bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _remove(connection: sqlite3.Connection, query: str, values: Sequence[int | bytes]) -> int:
    with transaction(connection):
        traces = [(trace,) for (trace,) in connection.execute(query, values)]
        for (trace,) in traces:
            connection.execute(
                "DELETE FROM calls WHERE (dimensions, started, span) IN (SELECT dimensions, started, id FROM spans"
                " WHERE trace = ? AND dimensions IS NOT NULL)",
                (trace,),
            )
        connection.executemany("DELETE FROM spans WHERE trace = ?", traces)
        connection.executemany("DELETE FROM traces WHERE id = ?", traces)
    return len(traces)


def _shrink(connection: sqlite3.Connection) -> None:
    # Use a script: ``execute`` takes one step of a statement without rows, which frees one page only.
    connection.executescript("PRAGMA incremental_vacuum(20000)")


def _orphans_are_due(connection: sqlite3.Connection) -> bool:
    tidied = connection.execute("SELECT value FROM meta WHERE name = 'tidied'").fetchone()
    return tidied is None or not 0 <= time.time() - tidied[0] < _ORPHAN_INTERVAL_SECONDS


def _remove_orphans(connection: sqlite3.Connection) -> None:
    """Remove dimensions and texts without calls, so that a user's name does not long outlive the user's calls."""
    with transaction(connection):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('tidied', ?)", (time.time(),))
        for statement in _ORPHANS:
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
