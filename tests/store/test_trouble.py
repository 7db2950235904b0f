"""The store in case of failures: a full disk, a missing library, invalid values."""

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
from llmtrace.providers.openai.chat_content import CHAT_CONTENT
from llmtrace.report.aggregate import report
from llmtrace.report.select import Selection
from llmtrace.store import exporter as exporters
from llmtrace.store import schema
from llmtrace.store import write as writing
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.parquet import write_parquet
from llmtrace.store.prune import prune
from llmtrace.store.read import find_trace, spans_after
from llmtrace.store.request_bodies import RequestBodies
from llmtrace.store.request_fingerprints import SentBody
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


def test_full_disk_loses_only_the_spans_of_that_time(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged once, and spans that arrive later are kept."""
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


def test_store_is_not_created_before_the_first_span(tmp_path: Path) -> None:
    """Creating and shutting down an exporter leaves no file."""
    StoreExporter(tmp_path / "s.db").shutdown()
    assert list(tmp_path.iterdir()) == []


def test_failed_pruning_keeps_the_written_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans are kept if pruning fails because the store is busy."""

    def busy(*_: object, **__: object) -> int:
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr(exporters, "prune", busy)
    exporter = StoreExporter(tmp_path / "s.db")
    assert exporter.export([ended()]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert names(tmp_path / "s.db") == ["chat m"]


def test_prune_of_an_impossible_limit_ends(store: sqlite3.Connection) -> None:
    """Pruning respects its time limit, continues in the next run, and ends when the store is empty."""
    assert prune(store, max_mb=1024, max_days=1, seconds=0.0) == 0
    assert prune(store, max_mb=0.001, max_days=0, seconds=60) == 150
    assert prune(store, max_mb=0.001, max_days=0, seconds=60) == 0
    assert [store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("spans", "calls")] == [0, 0]


@pytest.mark.parametrize(("broken", "left"), [("DELETE FROM traces", 150), ("DELETE FROM dimensions", 0)])
def test_failed_pruning_is_rolled_back(
    store: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, broken: str, left: int
) -> None:
    """A trace is removed with its spans and calls or not at all, and the connection stays usable."""
    table = broken.rpartition(" ")[2]
    store.execute(f"CREATE TEMP TRIGGER t BEFORE DELETE ON main.{table} BEGIN SELECT RAISE(ABORT, 'broken'); END")
    with pytest.raises(sqlite3.Error, match="broken"):
        prune(store, max_mb=1024, max_days=1, seconds=60)
    assert not store.in_transaction
    (kept,) = store.execute("SELECT count(*) FROM traces").fetchone()
    (spans,) = store.execute("SELECT count(DISTINCT trace) FROM spans").fetchone()
    assert kept == spans == left
    store.execute("DROP TRIGGER t")
    Writer(store).write([span for trace in traces(1, seed=9) for span in trace])


def test_store_that_cannot_be_created_raises_store_error(tmp_path: Path) -> None:
    """If the folder is a file, the error names the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open the store .*file/s\.db"):
        connect(tmp_path / "file" / "s.db", write=True)


def test_failed_migration_is_rolled_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store keeps its old version, and the older release can still use it."""
    connect(tmp_path / "s.db", write=True).close()
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, "CREATE TABLE more (x);\nCREATE TABLE spans (y)"))
    with pytest.raises(StoreError, match="spans"):
        connect(tmp_path / "s.db", write=True)
    monkeypatch.undo()
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'more'").fetchone() == (0,)


@pytest.mark.faulty
def test_failed_fingerprint_loses_the_similarity_only(store: sqlite3.Connection, monkeypatch: Any) -> None:
    """The span is written."""

    def broken(*_: object) -> None:
        raise RuntimeError("ours")

    monkeypatch.setattr(writing, "read_fingerprint", broken)
    span = record(ended())
    Writer(store).write([span], {span.span_id: b"{}"})
    assert find_trace(store, span.trace_id).trace_id == span.trace_id


def test_ambiguous_trace_id_is_refused(store: sqlite3.Connection) -> None:
    """The error asks for more digits."""
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
def test_stored_cost_is_exact_or_missing(
    tmp_path: Path, cost: dict[str, Any], priced: int, reasons: set[str] | None
) -> None:
    """Only dollars are added up; another currency is a reason, and an invalid amount is ignored."""
    span = record(ended(**{"gen_ai.usage.input_tokens": 5, **cost}))
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write([span])
        total = report(connection, Selection(), ()).total
        row = connection.execute("SELECT * FROM llm_calls").fetchone()
    assert (total.calls, total.priced) == (1, priced)
    if reasons:
        assert reasons & set(map(str, row))


@pytest.mark.parametrize("trouble", ["no pyarrow", "no folder"])
def test_parquet_that_cannot_be_written_raises_store_error(
    store: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """The error names the missing package or the path that cannot be written."""
    if trouble == "no pyarrow":
        monkeypatch.setitem(sys.modules, "pyarrow", None)
    else:
        pytest.importorskip("pyarrow")
    message = r"pip install \"llmtrace-otel\[parquet\]" if trouble == "no pyarrow" else "cannot write .*nowhere"
    with pytest.raises(StoreError, match=message):
        write_parquet(store, tmp_path / "nowhere" / "spans.parquet")


@pytest.mark.parametrize(
    ("endpoint", "environ", "address", "posts_to"),
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
def test_resender_sends_to_the_endpoint_of_option_or_variables(
    endpoint: str | None, environ: dict[str, str], address: str, posts_to: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option has precedence and gets OTLP's path if it has none; the protocol is that of the environment."""
    for name, value in environ.items():
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", value)
    exporter = resender(load({}), endpoint)
    exporter.shutdown()
    assert exporter.address == address
    assert exporter.transport.destination.endpoint == posts_to
    assert os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == environ.get("TRACES_ENDPOINT")


def test_request_bodies_of_unsampled_spans_are_dropped() -> None:
    """Request bodies of spans that the sampler dropped are not kept."""
    import llmtrace.store.request_bodies as module

    sent = RequestBodies(lambda: True)
    for number in range(module._MAX_BODIES + 50):
        sent._waiting.append((number, SentBody(b"{}", CHAT_CONTENT.request)))
        if number % 100 == 0:
            sent.take([])
    assert list(sent.take([f"{module._MAX_BODIES + 49:016x}"])) == [f"{module._MAX_BODIES + 49:016x}"]
    assert len(sent._bodies) <= module._MAX_BODIES
