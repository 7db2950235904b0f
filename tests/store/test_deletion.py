"""Deletion of the traces of one user."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.cli import main
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.write import Writer
from traffic import traces

GONE, KEPT = "ada-who-left", "bob-who-stays"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return a store with three traces of one user, one of them without a call, and two of another."""
    path = tmp_path / "spans.db"
    batches = list(traces(5))
    users = [GONE, KEPT, GONE, KEPT]
    spans = [
        replace(span, attributes={**span.attributes, "user.id": user})
        for trace, user in zip(batches, users, strict=False)
        for span in trace
    ]
    tool = batches[4][0]
    attributes = {"gen_ai.operation.name": "execute_tool", "user.id": GONE}
    spans.append(replace(tool, parent_id=None, name="execute_tool search", attributes=attributes))
    with closing(connect(path, write=True)) as connection:
        Writer(connection).write(spans)
    return path


def users_of(path: Path) -> list[object]:
    with closing(connect(path)) as connection:
        return [span.attributes.get("user.id") for _, span in spans_after(connection, 0)]


def test_delete_removes_all_traces_of_one_user_and_no_other(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Traces with any span of the user are gone, calls or not; a second run finds nothing."""
    kept = users_of(store).count(KEPT)
    assert main(["store", "delete", "--user", GONE, "--store", str(store)]) == 0
    assert users_of(store) == [KEPT] * kept
    with closing(connect(store)) as connection:
        assert connection.execute("SELECT count(*) FROM traces").fetchone() == (2,)
        assert {user for (user,) in connection.execute("SELECT user FROM llm_calls")} == {KEPT}
    assert main(["store", "delete", "--user", GONE, "--store", str(store)]) == 0
    assert capsys.readouterr().out == "deleted 3 traces\ndeleted 0 traces\n"


def test_delete_leaves_no_copy_of_the_user_in_the_files(store: Path) -> None:
    """Neither the database nor its write-ahead log holds the user's name afterwards."""
    with closing(connect(store, write=True)) as writer:  # keeps the log from being removed
        assert main(["store", "delete", "--user", GONE, "--store", str(store)]) == 0
        files = [path.read_bytes() for path in store.parent.iterdir()]
        writer.execute("SELECT 1")
    assert any(KEPT.encode() in data for data in files)
    assert not any(GONE.encode() in data for data in files)


def test_delete_reports_a_log_that_another_program_reads(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reader holds the log, the traces are deleted, and a line on standard error advises what to do."""
    monkeypatch.setattr("llmtrace.cli.terminal._LOCK_TIMEOUT_SECONDS", 0.1)
    with closing(sqlite3.connect(store, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM spans").fetchone()
        assert main(["store", "delete", "--user", GONE, "--store", str(store)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "deleted 3 traces\n"
    assert "run the command again" in captured.err
