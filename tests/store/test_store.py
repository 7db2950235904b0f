"""The local store: round trips, concurrent writers, and limits of age and size."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from llmtrace.report.aggregate import report
from llmtrace.report.select import Selection
from llmtrace.store.columns import is_call
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.parquet import write_parquet
from llmtrace.store.prune import prune
from llmtrace.store.read import find_trace, spans_after, spans_of, traces_by
from llmtrace.store.schema import StoreError, connect
from llmtrace.store.send import readable, send
from llmtrace.store.span_codec import StoredSpan, record
from llmtrace.store.write import Writer
from traffic import START, traces

DAY = 86400 * 10**9


def fill(path: Path, count: int, **how: Any) -> list[StoredSpan]:
    spans = [span for trace in traces(count, **how) for span in trace]
    with closing(connect(path, write=True)) as connection:
        Writer(connection).write(spans)
    return spans


def stored_spans(path: Path) -> list[StoredSpan]:
    with closing(connect(path)) as store:
        return [span for _, span in spans_after(store, 0)]


def finished(count: int = 1) -> list[ReadableSpan]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("llmtrace.openai", "1")
    for number in range(count):
        with tracer.start_as_current_span("chat gpt-4.1", attributes={"gen_ai.operation.name": "chat", "n": number}):
            pass
    return list(memory.get_finished_spans())


def test_stored_span_is_read_back_unchanged(tmp_path: Path) -> None:
    """Names, times, kinds, statuses, attributes of every type, events, links, scope and resource survive."""
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop", "n": 1}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("llmtrace.openai", "1.2")
    attributes: Any = {"gen_ai.operation.name": "chat", "text": "ü€😀\x00\n", "yes": True, "f": 0.1, "list": ["a", "b"]}
    with tracer.start_as_current_span("root") as root:
        link = Link(root.get_span_context(), {"why": "test"})
        with tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, links=[link], attributes=attributes) as span:
            span.add_event("exception", {"exception.type": "E"}, timestamp=START + 1)
            span.set_status(Status(StatusCode.ERROR, "it broke"))
    exported = list(memory.get_finished_spans())
    exporter = StoreExporter(tmp_path / "spans.db")
    assert exporter.export(exported) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert stored_spans(tmp_path / "spans.db") == [record(span) for span in exported]


def test_store_file_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """The file and its folder are private to their owner."""
    exporter = StoreExporter(tmp_path / "state" / "spans.db")
    exporter.export(finished())
    exporter.shutdown()
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "state" / "spans.db").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "attributes",
    [
        {"gen_ai.usage.input_tokens": -1, "gen_ai.usage.output_tokens": 2**70, "llm.cost.total": float("nan")},
        {"llm.cost.total": float("inf"), "llmtrace.stream.time_to_first_token": -3.0, "user.id": "\ud800"},
        {"llmtrace.cost.exact": "many", "gen_ai.response.finish_reasons": 5},
        {"gen_ai.request.model": ["a"], "llmtrace.feature": 7, "tag.tags": "x", "gen_ai.input.messages": '[{"role'},
    ],
)
def test_span_with_unusual_attribute_values_is_stored(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """An invalid value leaves its column empty, and the span is kept."""
    span = StoredSpan(
        "1" * 32, "2" * 16, None, "chat", START, START + 5, attributes={"gen_ai.operation.name": "chat", **attributes}
    )
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write([span])
        groups = dict(report(connection, Selection(), ()).rows)
    assert groups[()].calls == 1
    assert (groups[()].input, groups[()].output, groups[()].priced) == (0, 0, 0)


@pytest.mark.parametrize(
    ("scope", "attributes", "expected"),
    [
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "chat"}, True),
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "execute_event_loop_cycle"}, False),
        ("strands.telemetry.tracer", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 9}, False),
        ("openlit", {"gen_ai.operation.name": "image", "gen_ai.usage.input_tokens": 9}, True),
        ("llmtrace.openai", {"gen_ai.operation.name": "moderation"}, True),
    ],
)
def test_step_of_a_framework_is_not_a_call(scope: str, attributes: dict[str, Any], expected: bool) -> None:
    """A span of another package with an operation of its own is a call only if it has usage."""
    span = StoredSpan("1" * 32, "2" * 16, None, "step", START, START + 5, attributes=attributes, scope=(scope, None))
    assert is_call(span) is expected


def _write_many(path: str, number: int, spans: int) -> None:
    exporter = StoreExporter(Path(path))
    batch = finished(25)
    for _ in range(spans // 25):
        if exporter.export(batch) is not SpanExportResult.SUCCESS:
            os._exit(3)
    exporter.shutdown()


def test_concurrent_processes_lose_no_span(tmp_path: Path) -> None:
    """Eight processes write while one reads: no span is lost, and no error is raised."""
    path, spans = tmp_path / "spans.db", 200
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=_write_many, args=(str(path), number, spans)) for number in range(8)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        try:
            with closing(connect(path)) as store:
                report(store, Selection(), ("feature",))
                reads += 1
        except StoreError:  # not made yet
            time.sleep(0.01)
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 8
    assert reads
    with closing(connect(path)) as store:
        assert report(store, Selection(), ()).total.calls == 8 * spans


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_process_writes_through_its_own_connection(tmp_path: Path) -> None:
    """Parent and child both continue to export, and no span is lost."""
    exporter = StoreExporter(tmp_path / "spans.db")
    spans = finished(10)
    exporter.export(spans)
    child = os.fork()
    if child == 0:
        done = exporter.export(spans) is SpanExportResult.SUCCESS
        os._exit(0 if done else 1)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    _, status = os.waitpid(child, 0)
    assert status == 0
    exporter.shutdown()
    assert len(stored_spans(tmp_path / "spans.db")) == 30


def test_removed_store_is_created_again(tmp_path: Path) -> None:
    """Deleting the file at run time loses its contents, but no later span."""
    exporter = StoreExporter(tmp_path / "spans.db")
    exporter.export(finished())
    for file in tmp_path.iterdir():
        file.unlink()
    assert exporter.export(finished()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(stored_spans(tmp_path / "spans.db")) == 1


def test_file_that_is_not_a_store_is_left_unchanged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Export fails with one warning, the file stays unchanged, and reading raises an error with a remedy."""
    path = tmp_path / "spans.db"
    path.write_bytes(b"my diary" * 100)
    exporter = StoreExporter(path)
    assert [exporter.export(finished()) for _ in range(2)] == [SpanExportResult.FAILURE] * 2
    assert len(caplog.records) == 1
    assert path.read_bytes() == b"my diary" * 100
    with pytest.raises(StoreError, match="name another file"):
        connect(path)
    with pytest.raises(StoreError, match="llmtrace demo"):
        connect(tmp_path / "nowhere.db")


def test_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    """A store of a later release is neither written nor read."""
    fill(tmp_path / "s.db", 1)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for write in (True, False):
        with pytest.raises(StoreError, match="newer llmtrace"):
            connect(tmp_path / "s.db", write=write)


def test_prune_removes_traces_above_the_age_limit(tmp_path: Path) -> None:
    """Old traces are removed with all their spans, and with user names that no call has any more."""
    now = time.time_ns()
    shift = now - 10 * DAY - START
    spans = [span for trace in traces(40, users=9) for span in trace]
    moved = [replace(span, started=span.started + shift, ended=span.ended + shift) for span in spans]
    attributes = {**moved[0].attributes, "user.id": "new"}
    late = replace(moved[0], trace_id="f" * 32, started=now, ended=now + 5, attributes=attributes)
    with closing(connect(tmp_path / "t.db", write=True)) as connection:
        Writer(connection).write([*moved, late])
        assert prune(connection, max_mb=1024, max_days=12) == 0
        assert prune(connection, max_mb=1024, max_days=1) == 40
        assert [row[0] for row in connection.execute("SELECT trace_id FROM llm_calls")] == ["f" * 32]
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("spans", "traces", "calls", "dimensions")
        ]
        texts = {text for (text,) in connection.execute("SELECT text FROM texts")}
    assert counts == [1, 1, 1, 1]
    assert "new" in texts
    assert not any(text.startswith("user-") for text in texts)


def test_prune_removes_traces_above_the_size_limit(tmp_path: Path) -> None:
    """A full store loses its oldest traces and keeps the newest, and its file shrinks."""
    path = tmp_path / "s.db"
    spans = fill(path, 2000)
    before = path.stat().st_size
    with closing(connect(path, write=True)) as connection:
        assert prune(connection, max_mb=1, max_days=0, seconds=30) > 0
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = [span.span_id for _, span in spans_after(connection, 0)]
    assert path.stat().st_size < before / 2
    assert path.stat().st_size < 1.2e6
    assert len(kept) > 500
    assert kept == [span.span_id for span in spans][-len(kept) :]


def test_writer_drops_cached_ids_after_another_pruned(tmp_path: Path) -> None:
    """A writer does not refer to rows that another process removed."""
    path = tmp_path / "s.db"
    (spans,) = traces(1)
    with closing(connect(path, write=True)) as one, closing(connect(path, write=True)) as two:
        writer = Writer(one)
        writer.write(spans)
        prune(two, max_mb=1024, max_days=0.0001)
        writer.write(spans)
        assert dict(report(one, Selection(), ("feature", "user")).rows).keys() == {
            (spans[0].attributes["llmtrace.feature"], spans[0].attributes["user.id"])
        }


def test_failed_batch_is_rolled_back(tmp_path: Path) -> None:
    """A batch is written completely or not at all."""
    (spans,) = traces(1)
    broken = replace(spans[0], trace_id="no hex")
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        writer = Writer(connection)
        with pytest.raises(ValueError, match="hex"):
            writer.write([spans[1], broken])
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (0,)
        writer.write(spans)
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (len(spans),)


def test_invalid_span_does_not_lose_its_batch(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A span that cannot be stored is reported; the rest of its batch is written."""
    spans = finished(5)
    spans[2]._context = None
    exporter = StoreExporter(tmp_path / "s.db")
    assert exporter.export(spans) is SpanExportResult.FAILURE
    exporter.shutdown()
    assert [span.attributes["n"] for span in stored_spans(tmp_path / "s.db")] == [0, 1, 3, 4]
    assert len(caplog.records) == 1


def test_trace_lookup_by_prefix_and_order_returns_the_trace(tmp_path: Path) -> None:
    """Traces are found by the first digits of an id, and as last, slowest and most expensive."""
    spans = fill(tmp_path / "s.db", 50)
    roots = {span.trace_id: span for span in spans if span.parent_id is None}
    costs: dict[str, float] = dict.fromkeys(roots, 0.0)
    for span in spans:
        costs[span.trace_id] += span.attributes.get("llm.cost.total", 0.0)
    with closing(connect(tmp_path / "s.db")) as store:
        wanted = max(costs, key=costs.__getitem__)
        assert find_trace(store, wanted[:10]).trace_id == wanted
        assert traces_by(store, "most_expensive")[0].trace_id == wanted
        assert traces_by(store, "last")[0].trace_id == max(roots, key=lambda each: roots[each].ended)
        slowest = traces_by(store, "slowest")[0]
        assert slowest.trace_id == max(roots, key=lambda each: roots[each].ended - roots[each].started)
        trace_spans = spans_of(store, slowest)
        assert {span.span_id for span in trace_spans} == {
            span.span_id for span in spans if span.trace_id == slowest.trace_id
        }
        with pytest.raises(StoreError, match="no trace"):
            find_trace(store, "0123456789abcdef")
        with pytest.raises(StoreError, match="hexadecimal"):
            find_trace(store, "'; DROP TABLE spans; --")


class _FailingExporter(InMemorySpanExporter):
    """Exporter that accepts a number of batches and then fails."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def export(self, spans: Any) -> SpanExportResult:
        self.left -= 1
        return super().export(spans) if self.left >= 0 else SpanExportResult.FAILURE


def test_interrupted_send_resumes_where_it_stopped(tmp_path: Path) -> None:
    """Over several runs, one of them interrupted, each span is sent once and unchanged."""
    spans = fill(tmp_path / "s.db", 400)
    first, second = _FailingExporter(1), _FailingExporter(9)
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        with pytest.raises(StoreError, match="512 were sent"):
            send(connection, first, "http://a")
        assert send(connection, second, "http://a") == len(spans) - 512
        assert send(connection, second, "http://a") == 0
        assert send(connection, _FailingExporter(9), "http://b") == len(spans)
    taken = [*first.get_finished_spans(), *second.get_finished_spans()]
    assert [record(span) for span in taken] == spans
    assert [record(readable(span)) for span in spans[:5]] == spans[:5]


def test_parquet_has_a_row_for_each_span(tmp_path: Path) -> None:
    """The file has the columns of the reports, exact money, and the attributes."""
    parquet = pytest.importorskip("pyarrow.parquet")
    spans = fill(tmp_path / "s.db", 30)
    with closing(connect(tmp_path / "s.db")) as store:
        assert write_parquet(store, tmp_path / "spans.parquet") == len(spans)
        expected = report(store, Selection(), ()).total.dollars
    rows = parquet.read_table(tmp_path / "spans.parquet").to_pylist()
    assert [row["span_id"] for row in rows] == [span.span_id for span in spans]
    assert [json.loads(row["attributes"]) for row in rows] == [span.attributes for span in spans]
    assert sum(row["cost_usd"] or 0 for row in rows) == expected
    assert {row["feature"] for row in rows} >= {"search", "support"}
