"""A file of another program is refused and left unchanged, byte for byte."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

from llmtrace.cli import main
from llmtrace.export.stats import ExportStats
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.schema import APPLICATION_ID, StoreError, connect
from llmtrace.store.sink import StoreSink
from llmtrace.store.write import Writer
from old_stores import downgrade
from traffic import traces

COMMANDS = [
    ["report"], ["report", "--json"], ["report", "--html", "page.html"], ["trace"], ["tail", "--no-follow"],
    ["compare", "version=3", "version=4"], ["advise"], ["store"], ["store", "prune"],
    ["store", "delete", "--user", "ada"], ["store", "send", "--endpoint", "http://127.0.0.1:9"],
    ["store", "export", "spans.parquet"],
]  # fmt: skip


def _sql(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            for statement in statements:
                connection.execute(statement)

    return make


def _same_table_names(path: Path) -> None:
    _sql("CREATE TABLE spans (x)", "CREATE TABLE calls (x)", "PRAGMA user_version = 2")(path)


def _text(path: Path) -> None:
    path.write_text("dear diary\n" * 200)


FOREIGN = {
    "tables": _sql("CREATE TABLE customers (name)"),
    "write-ahead log": _sql("PRAGMA journal_mode = WAL", "CREATE TABLE customers (name)"),
    "version": _sql("CREATE TABLE customers (name)", "PRAGMA user_version = 2"),
    "version alone": _sql("PRAGMA user_version = 1"),
    "application_id alone": _sql("PRAGMA application_id = 7"),
    "names of ours": _same_table_names,
    "text": _text,
    "zeros": lambda path: path.write_bytes(bytes(8192)) and None,
    "one byte": lambda path: path.write_bytes(b"x") and None,
}


def _files_of(path: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), each.stat().st_mtime_ns) for each in path.parent.iterdir()}


@pytest.fixture(params=FOREIGN)
def foreign(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "state" / "app.db"
    path.parent.mkdir()
    FOREIGN[request.param](path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LLMTRACE_STORE", str(path))
    before = _files_of(path)
    yield path
    assert _files_of(path) == before


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_foreign_file_is_refused_by_every_command(
    foreign: Path, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is one line that names the file, and no byte of it changes."""
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert str(foreign) in error


@pytest.mark.parametrize("write", [False, True])
def test_foreign_file_is_refused_by_connect(foreign: Path, write: bool) -> None:
    """The file is refused for reading and for writing."""
    with pytest.raises(StoreError, match=r"app\.db"):
        connect(foreign, write=write)


def test_foreign_file_is_refused_by_the_exporter(foreign: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The spans are counted as lost, and one log line gives the reason."""
    sink = StoreSink(StoreExporter(foreign), ExportStats())
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("chat m") as span:
        pass
    for _ in range(2):
        sink.write([span])
    assert sink.close(time.monotonic() + 30)
    assert sink._stats.counts().dropped == {"store_failed": 2}
    assert sum(str(foreign) in message for message in caplog.messages) == 1


def test_foreign_database_in_use_is_refused_unchanged(tmp_path: Path) -> None:
    """The tables of another program may exist in its write-ahead log only."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode = WAL")
        other.execute("PRAGMA wal_autocheckpoint = 0")
        other.execute("CREATE TABLE customers (name)")
        before = _files_of(path)
        for write in (False, True):
            with pytest.raises(StoreError, match="not a store of llmtrace"):
                connect(path, write=write)
        assert {name: content for name, (content, _) in _files_of(path).items() if "shm" not in name} == {
            name: content for name, (content, _) in before.items() if "shm" not in name
        }


def test_store_without_application_id_gets_one_when_written_to(tmp_path: Path) -> None:
    """A store of the first release has no application id, and reading does not add it."""
    path = tmp_path / "s.db"

    def mark() -> Any:
        with closing(sqlite3.connect(path)) as store:
            return store.execute("PRAGMA application_id").fetchone()[0]

    with closing(connect(path, write=True)) as store:
        Writer(store).write([span for trace in traces(3) for span in trace])
    assert mark() == APPLICATION_ID
    downgrade(path, 1)
    assert mark() == 0
    before = path.read_bytes()
    with closing(connect(path)) as store:
        assert store.execute("SELECT count(*) FROM calls").fetchone()[0]
    assert path.read_bytes() == before
    with closing(connect(path, write=True)) as store:
        assert store.execute("SELECT count(*) FROM calls").fetchone()[0]
    assert mark() == APPLICATION_ID


@pytest.mark.parametrize("make", [Path.touch, _sql("PRAGMA journal_mode = WAL"), _sql("VACUUM")])
def test_empty_file_becomes_a_store(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """An empty file or an empty database can become a store."""
    path = tmp_path / "s.db"
    make(path)
    with closing(connect(path, write=True)) as store:
        assert store.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert store.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_pipe_or_folder_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe would wait for its other end."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        for write in (False, True):
            with pytest.raises(StoreError, match="not a regular file"):
                connect(path, write=write)
