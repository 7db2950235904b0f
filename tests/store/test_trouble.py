"""The store where something is wrong: a full disk, a library that is missing, a question that means nothing."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llmtrace._settings import load
from llmtrace.cli.resend import resender
from llmtrace.report.aggregate import report
from llmtrace.report.select import Selection
from llmtrace.store import exporter as exporters
from llmtrace.store import schema
from llmtrace.store import write as writing
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.parquet import write_parquet
from llmtrace.store.prune import Limits, prune
from llmtrace.store.read import find_trace, spans_after
from llmtrace.store.request_bodies import RequestBodies
from llmtrace.store.schema import StoreError, connect
from llmtrace.store.span_codec import record
from llmtrace.store.write import Writer
from traffic import traces


@pytest.fixture
def store(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write([span for trace in traces(150) for span in trace])
        yield connection


def ended(**attributes: Any) -> ReadableSpan:
    memory = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("t").start_span("chat m", attributes={"gen_ai.operation.name": "chat", **attributes}).end()
    return memory.get_finished_spans()[0]


def names(path: Path) -> list[str]:
    with closing(connect(path)) as connection:
        return [span.name for _, span in spans_after(connection, 0)]


def test_a_disk_that_is_full_costs_what_came_then(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, and what comes when there is room is kept."""
    exporter = StoreExporter(tmp_path / "s.db", max_mb=0, max_days=0)
    assert exporter.export([ended()]) is SpanExportResult.SUCCESS
    assert exporter._writer is not None
    connection = exporter._writer.connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    large = [ended(text=os.urandom(40_000).hex()) for _ in range(2)]
    assert [exporter.export(large) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    connection.execute("PRAGMA max_page_count = 1000000")
    assert exporter.export([ended()]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(names(tmp_path / "s.db")) == 2
    assert [each.message.startswith("llmtrace could not write spans to ") for each in caplog.records] == [True]


def test_nothing_is_made_before_the_first_span(tmp_path: Path) -> None:
    """An exporter that is only made and shut down leaves no file."""
    StoreExporter(tmp_path / "s.db").shutdown()
    assert list(tmp_path.iterdir()) == []


def test_spans_are_kept_where_pruning_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that is busy when it is to be tidied has the spans all the same."""

    def busy(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(exporters, "prune", busy)
    exporter = StoreExporter(tmp_path / "s.db")
    assert exporter.export([ended()]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert names(tmp_path / "s.db") == ["chat m"]


def test_pruning_ends(store: sqlite3.Connection) -> None:
    """It keeps to its time, goes on where it stopped, and ends where nothing is left to remove."""
    assert prune(store, Limits(days=1), seconds=0.0) == 0
    assert prune(store, Limits(megabytes=0.001, days=0), seconds=60) == 150
    assert prune(store, Limits(megabytes=0.001, days=0), seconds=60) == 0
    assert [store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("spans", "calls")] == [0, 0]


@pytest.mark.parametrize(("broken", "left"), [("DELETE FROM traces", 150), ("DELETE FROM facts", 0)])
def test_pruning_that_fails_leaves_nothing_half_done(
    store: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, broken: str, left: int
) -> None:
    """A trace goes with its spans and calls or not at all, and the connection is good for the next batch."""
    table = broken.rpartition(" ")[2]
    store.execute(f"CREATE TEMP TRIGGER t BEFORE DELETE ON main.{table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(sqlite3.Error, match="broken"):
        prune(store, Limits(days=1), seconds=60)
    assert not store.in_transaction
    (kept,) = store.execute("SELECT count(*) FROM traces").fetchone()
    (spans,) = store.execute("SELECT count(DISTINCT trace) FROM spans").fetchone()
    assert kept == spans == left
    store.execute("DROP TRIGGER t")
    Writer(store).write([span for trace in traces(1, seed=9) for span in trace])


def test_a_store_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """Where the folder is a file, the error names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open the store .*file/s\.db"):
        connect(tmp_path / "file" / "s.db", write=True)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store stays that of the older release, which can go on with it."""
    connect(tmp_path / "s.db", write=True).close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (x);\nCREATE TABLE spans (y)"))
    with pytest.raises(StoreError, match="spans"):
        connect(tmp_path / "s.db", write=True)
    monkeypatch.undo()
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)


@pytest.mark.faulty
def test_a_request_that_cannot_be_compared_costs_its_likeness(store: sqlite3.Connection, monkeypatch: Any) -> None:
    """The span is written all the same."""

    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(writing, "read_fingerprint", broken)
    span = record(ended())
    Writer(store).write([span], {span.span_id: b"{}"})
    assert find_trace(store, span.trace_id).trace_id == span.trace_id


def test_a_trace_id_that_stands_for_several(store: sqlite3.Connection) -> None:
    """More digits are asked for."""
    span = record(ended())
    for last in "01":
        Writer(store).write([replace(span, trace_id="ab" * 15 + f"0{last}")])
    with pytest.raises(StoreError, match="several traces begin with abab; give more digits"):
        find_trace(store, "ABAB")
    assert find_trace(store, "0x" + "ab" * 15 + "01").trace_id.endswith("01")


@pytest.mark.parametrize(
    ("cost", "priced", "reasons"),
    [
        ({"llm.cost.total": 0.5}, 1, {}),
        ({"llm.cost.total": 0.5, "llmtrace.cost.currency": "EUR"}, 0, {"currency_EUR"}),
        ({"llm.cost.total": "much"}, 0, None),
        ({"llm.cost.total": True}, 0, None),
        ({"llm.cost.total": 1e30}, 0, None),
    ],
)
def test_money_is_right_or_absent(tmp_path: Path, cost: dict[str, Any], priced: int, reasons: set[str] | None) -> None:
    """Dollars alone are added up; another currency is a reason, and what is no amount is none."""
    span = record(ended(**{"gen_ai.usage.input_tokens": 5, **cost}))
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write([span])
        whole = report(connection, Selection(), ()).total
        told = connection.execute("SELECT * FROM llm_calls").fetchone()
    assert (whole.calls, whole.priced) == (1, priced)
    if reasons:
        assert reasons & set(map(str, told))


@pytest.mark.parametrize("trouble", ["no pyarrow", "no folder"])
def test_parquet_that_cannot_be_written(
    store: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The error says what to install, or where it cannot be written."""
    if trouble == "no pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    else:
        pytest.importorskip("pyarrow")
    says = r"pip install \"llmtrace-otel\[parquet\]" if trouble == "no pyarrow" else "cannot write .*nowhere"
    with pytest.raises(StoreError, match=says):
        write_parquet(store, tmp_path / "nowhere" / "spans.parquet")


@pytest.mark.parametrize(
    ("given", "environ", "address", "posts_to"),
    [
        ("http://a:1", {}, "http://a:1", "http://a:1/v1/traces"),
        ("http://a:1/", {}, "http://a:1/", "http://a:1/v1/traces"),
        ("http://a:1/x/v1/traces", {}, "http://a:1/x/v1/traces", "http://a:1/x/v1/traces"),
        (None, {"ENDPOINT": "http://b:2"}, "http://b:2", "http://b:2/v1/traces"),
        (None, {"ENDPOINT": "http://b:2", "TRACES_ENDPOINT": "http://c:3/x"}, "http://c:3/x", "http://c:3/x"),
        ("http://a:1", {"PROTOCOL": "grpc"}, "http://a:1", "a:1"),
        (None, {"ENDPOINT": "http://b:2", "TRACES_PROTOCOL": "grpc"}, "http://b:2", "b:2"),
        ("http://me:secret@a:1?key=x", {}, "http://a:1", "http://a:1"),
    ],
)
def test_where_spans_are_sent(
    given: str | None, environ: dict[str, str], address: str, posts_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address that is given wins, with the path of OTLP where it lacks it; the protocol is the environment's."""
    for name, value in environ.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    exporter = resender(load({}), given)
    exporter.shutdown()
    assert exporter.address == address
    assert exporter.way.destination.endpoint == posts_to
    assert os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == environ.get("TRACES_ENDPOINT")


def test_bodies_of_spans_that_never_come_are_forgotten() -> None:
    """What calls have sent is not kept for spans that the sampler has left out."""
    import llmtrace.store.request_bodies as module

    sent = RequestBodies(lambda: True)
    for number in range(module._MAX_BODIES + 50):
        sent._waiting.append((number, b"{}"))
        if number % 100 == 0:
            sent.take([])
    assert sent.take([f"{module._MAX_BODIES + 49:016x}"]) == {f"{module._MAX_BODIES + 49:016x}": b"{}"}
    assert len(sent._known) <= module._MAX_BODIES
