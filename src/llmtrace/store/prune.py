"""Keeping the store within its bounds of age and size: the oldest traces go first, whole."""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass

from .schema import transaction

__all__ = ["Limits", "prune"]

_CHUNK = 100
_ROOM = 0.9
"""A store that is full is emptied to this share, so that not every batch has to prune."""
_TIDY_EVERY = 3600.0
_ORPHANS = (
    "DELETE FROM facts WHERE NOT EXISTS (SELECT 1 FROM calls WHERE calls.facts = facts.id)",
    "DELETE FROM texts WHERE id NOT IN (SELECT user FROM calls WHERE user IS NOT NULL UNION"
    " SELECT session FROM calls WHERE session IS NOT NULL UNION SELECT labels FROM calls WHERE labels IS NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept. A limit of 0 is none."""

    megabytes: float = 1024.0
    days: float = 90.0


def prune(connection: sqlite3.Connection, limits: Limits, *, seconds: float = 0.5) -> int:
    """Remove what is over the limits, for about so many seconds. How many traces went."""
    connection.execute("PRAGMA secure_delete = FAST")
    deadline = time.monotonic() + seconds
    removed = gone = _remove_old(connection, limits.days, deadline)
    if limits.megabytes and _bytes(connection) > limits.megabytes * 1e6:
        while _bytes(connection) > limits.megabytes * 1e6 * _ROOM and time.monotonic() < deadline:
            gone = _remove(connection, "SELECT id FROM traces ORDER BY id LIMIT ?", (_CHUNK,))
            removed += gone
            if not gone:
                break
    if removed:
        _remove_orphans(connection)
        # As a script: ``execute`` takes a single step of a statement without rows, which is one page.
        connection.executescript("PRAGMA incremental_vacuum(20000)")
    return removed


def _remove_old(connection: sqlite3.Connection, days: float, deadline: float) -> int:
    if not days:
        return 0
    oldest = int(max(0.0, time.time() - days * 86400) * 1e6)
    removed = 0
    while time.monotonic() < deadline:
        gone = _remove(connection, "SELECT id FROM traces WHERE ended < ? ORDER BY ended LIMIT ?", (oldest, _CHUNK))
        removed += gone
        if gone < _CHUNK:
            break
    return removed


def _bytes(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _remove(connection: sqlite3.Connection, choice: str, values: tuple[int, ...]) -> int:
    with transaction(connection):
        traces = [(trace,) for (trace,) in connection.execute(choice, values)]
        for (trace,) in traces:
            connection.execute(
                "DELETE FROM calls WHERE (facts, started, span) IN (SELECT facts, started, id FROM spans"
                " WHERE trace = ? AND facts IS NOT NULL)",
                (trace,),
            )
        connection.executemany("DELETE FROM spans WHERE trace = ?", traces)
        connection.executemany("DELETE FROM traces WHERE id = ?", traces)
    return len(traces)


def _remove_orphans(connection: sqlite3.Connection) -> None:
    """A user's name does not long outlive the user's calls."""
    tidied = connection.execute("SELECT value FROM meta WHERE name = 'tidied'").fetchone()
    if tidied is not None and 0 <= time.time() - tidied[0] < _TIDY_EVERY:
        return
    with transaction(connection):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('tidied', ?)", (time.time(),))
        for statement in _ORPHANS:
            connection.execute(statement)
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
