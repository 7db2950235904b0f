"""A store of an older release is read as it is, and brought up to date when it is written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from llmtrace.report.aggregate import report
from llmtrace.report.calls import read
from llmtrace.report.select import selection
from llmtrace.store.packed import METRIC_LAYOUT, SIMILARITY_LAYOUT
from llmtrace.store.schema import MIGRATIONS, connect
from llmtrace.store.write import Writer
from traffic import traces


def _first_version(path: Path) -> None:
    """The store as the first version of the tables has it: no column is packed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as store:
        for column in ("figures", "likeness"):
            store.execute(f"ALTER TABLE calls DROP COLUMN {column}")
        store.execute("PRAGMA user_version = 1")


def test_an_older_store_is_read_and_then_written(tmp_path: Path) -> None:
    """All figures are the same before, as an older file, and after: row by row, packed or not."""
    path = tmp_path / "s.db"
    made = [span for trace in traces(60) for span in trace]
    with closing(connect(path, write=True)) as store:
        Writer(store).write(made[:120])
        expected = [(key, group.as_dict()) for key, group in report(store, selection(), ("user", "model")).rows]
        columns = read(store, selection(), likeness=True).columns
    _first_version(path)
    with closing(connect(path)) as store:
        found = [(key, group.as_dict()) for key, group in report(store, selection(), ("user", "model")).rows]
        older = read(store, selection(), likeness=True).columns
    assert found == expected
    for name in (*METRIC_LAYOUT, *SIMILARITY_LAYOUT):
        assert (older[name] == columns[name]).all(), name
    with closing(connect(path, write=True)) as store:
        Writer(store).write(made[120:])
        assert store.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert store.execute("SELECT count(*) FROM calls WHERE figures IS NULL").fetchone() == (80,)
        assert report(store, selection(), ()).total.calls == 120
