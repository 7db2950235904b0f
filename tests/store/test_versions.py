"""Stores of older releases, which are read as they are and migrated when they are written to."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llmtrace.report.aggregate import report
from llmtrace.report.calls import read
from llmtrace.report.select import selection
from llmtrace.store.packed import METRIC_LAYOUT, SIMILARITY_LAYOUT
from llmtrace.store.parquet import write_parquet
from llmtrace.store.read import last_span, spans_after, traces_by, traces_of
from llmtrace.store.schema import APPLICATION_ID, MIGRATIONS, connect
from llmtrace.store.write import Writer
from old_stores import downgrade
from traffic import traces


def rows(store: sqlite3.Connection) -> list[object]:
    """Return a report on a store as plain values."""
    return [(key, group.as_dict()) for key, group in report(store, selection(), ("user", "model")).rows]


@pytest.mark.parametrize("version", [1, 2])
def test_older_store_is_read_and_migrated_when_written_to(tmp_path: Path, version: int) -> None:
    """All figures of the older file equal those before and after its migration, packed or not."""
    path = tmp_path / "s.db"
    spans = [span for trace in traces(60) for span in trace]
    with closing(connect(path, write=True)) as store:
        Writer(store).write(spans[:120])
        expected = rows(store)
        columns = read(store, selection(), similarity=True).columns
        stored = list(spans_after(store, 0))
        first = traces_by(store, "most_expensive")
    downgrade(path, version)
    before = path.read_bytes()
    with closing(connect(path)) as store:
        assert store.execute("PRAGMA user_version").fetchone() == (version,)
        assert rows(store) == expected
        older = read(store, selection(), similarity=True).columns
        assert read(store, selection(where=["feature=search"], since="2020-01-01")).columns
        assert list(spans_after(store, 0)) == stored
        assert traces_by(store, "most_expensive") == first
        call = int(older["dimensions"][0]), int(older["started"][0])
        assert len(traces_of(store, [call], limit=2)) == 1
    for name in (*METRIC_LAYOUT, *SIMILARITY_LAYOUT):
        assert (older[name] == columns[name]).all(), name
    assert path.read_bytes() == before
    with closing(connect(path, write=True)) as store:
        Writer(store).write(spans[120:])
        assert store.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        assert store.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        packed = 80 if version == 1 else 0
        assert store.execute("SELECT count(*) FROM calls WHERE metrics IS NULL").fetchone() == (packed,)
        assert report(store, selection(), ()).total.calls == 120
        assert store.execute("SELECT count(*), count(feature) FROM llm_calls").fetchone()[0] == 120
        tables = {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
        assert "dimensions" in tables
        assert "facts" not in tables
    with closing(connect(path)) as store:
        assert report(store, selection(), ()).total.calls == 120


@pytest.mark.parametrize("version", [1, 2])
def test_older_store_exports_the_same_parquet_file(tmp_path: Path, version: int) -> None:
    """The rows of the export do not depend on the version of the tables."""
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "s.db"
    with closing(connect(path, write=True)) as store:
        Writer(store).write([span for trace in traces(20) for span in trace])
        write_parquet(store, tmp_path / "new.parquet")
    downgrade(path, version)
    with closing(connect(path)) as store:
        write_parquet(store, tmp_path / "old.parquet")
    new, old = (parquet.read_table(tmp_path / f"{name}.parquet").to_pylist() for name in ("new", "old"))
    assert old == new
    assert any(row["request_model"] for row in old)


@pytest.mark.parametrize("version", [1, 2])
def test_reader_of_spans_survives_the_migration_by_another_process(tmp_path: Path, version: int) -> None:
    """``llmtrace tail`` on an older store sees the spans that a newer release writes."""
    path = tmp_path / "s.db"
    spans = [span for trace in traces(10) for span in trace]
    with closing(connect(path, write=True)) as store:
        Writer(store).write(spans[:10])
    downgrade(path, version)
    with closing(connect(path)) as reader:
        last = last_span(reader)
        assert len(list(spans_after(reader, 0))) == 10
        with closing(connect(path, write=True)) as store:
            Writer(store).write(spans[10:])
        assert [span for _, span in spans_after(reader, last)] == spans[10:]
