"""Stores as older releases wrote them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from llmtrace.store.schema import APPLICATION_ID, MIGRATIONS

__all__ = ["downgrade"]

_COPY = {
    "facts": ("dimensions", {}),
    "spans": ("spans", {"facts": "dimensions"}),
    "calls": ("calls", {"facts": "dimensions", "figures": "metrics", "likeness": "similarity"}),
    "meta": ("meta", {}),
    "texts": ("texts", {}),
    "resources": ("resources", {}),
    "traces": ("traces", {}),
}
"""Tables of version 1 and 2, each with the table of today that holds the same, and the columns of another name."""


def downgrade(path: Path, version: int) -> None:
    """Rewrite a store as the release wrote it whose tables have that version; that of version 1 has no mark."""
    old = path.with_suffix(".old")
    with closing(sqlite3.connect(old, isolation_level=None)) as store:
        for script in MIGRATIONS[:version]:
            store.executescript(script)
        store.execute(f"PRAGMA user_version = {version}")
        if version > 1:
            store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        store.execute("ATTACH ? AS new", (str(path),))
        for table, (source, names) in _COPY.items():
            columns = [name for _, name, *_ in store.execute(f"PRAGMA main.table_info({table})")]
            sources = ", ".join(names.get(name, name) for name in columns)
            store.execute(f"DELETE FROM main.{table}")
            store.execute(f"INSERT INTO main.{table} ({', '.join(columns)}) SELECT {sources} FROM new.{source}")
    for name in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
        name.unlink(missing_ok=True)
    old.rename(path)
