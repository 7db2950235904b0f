"""The local store: what goes in comes out, whoever writes at the same time, within its bounds."""

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
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.parquet import write_parquet
from llmtrace.store.prune import Limits, prune
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


def everything(path: Path) -> list[StoredSpan]:
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


def test_a_span_comes_out_as_it_went_in(tmp_path: Path) -> None:
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
    given = list(memory.get_finished_spans())
    exporter = StoreExporter(tmp_path / "spans.db")
    assert exporter.export(given) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert everything(tmp_path / "spans.db") == [record(span) for span in given]


def test_only_the_owner_may_read_it(tmp_path: Path) -> None:
    """The file and its folder are made for their owner alone."""
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
        {"llmtrace.cost.exact": "many", "llmtrace.request.hash": "no hash", "gen_ai.response.finish_reasons": 5},
        {"gen_ai.request.model": ["a"], "llmtrace.feature": 7, "tag.tags": "x", "gen_ai.input.messages": '[{"role'},
    ],
)
def test_odd_values_cost_no_span(tmp_path: Path, attributes: dict[str, Any]) -> None:
    """A value that means nothing is "not told" in the columns, and the span is kept."""
    span = StoredSpan(
        "1" * 32, "2" * 16, None, "chat", START, START + 5, attributes={"gen_ai.operation.name": "chat", **attributes}
    )
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write([span])
        groups = dict(report(connection, Selection(), ()).rows)
    assert groups[()].calls == 1
    assert (groups[()].input, groups[()].output, groups[()].priced) == (0, 0, 0)


def _write_many(path: str, number: int, spans: int) -> None:
    exporter = StoreExporter(Path(path))
    batch = finished(25)
    for _ in range(spans // 25):
        if exporter.export(batch) is not SpanExportResult.SUCCESS:
            os._exit(3)
    exporter.shutdown()


def test_eight_processes_write_while_one_reads(tmp_path: Path) -> None:
    """No span is lost and nobody is told that the database is locked."""
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
def test_a_fork_writes_through_a_connection_of_its_own(tmp_path: Path) -> None:
    """Parent and child both go on exporting, and nothing is lost."""
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
    assert len(everything(tmp_path / "spans.db")) == 30


def test_a_store_removed_under_us_is_made_again(tmp_path: Path) -> None:
    """Deleting the file while a program runs loses what was in it, and nothing after."""
    exporter = StoreExporter(tmp_path / "spans.db")
    exporter.export(finished())
    for file in tmp_path.iterdir():
        file.unlink()
    assert exporter.export(finished()) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(everything(tmp_path / "spans.db")) == 1


def test_a_file_that_is_no_store_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Export fails, says so once, and the file stays as it was; reading says what to do."""
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


def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    """A store of a later release is neither written nor misread."""
    fill(tmp_path / "s.db", 1)
    with closing(sqlite3.connect(tmp_path / "s.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    for write in (True, False):
        with pytest.raises(StoreError, match="newer llmtrace"):
            connect(tmp_path / "s.db", write=write)


def test_age_bounds_the_store(tmp_path: Path) -> None:
    """Traces past the limit of age go whole, with the names of users that no call has any more."""
    now = time.time_ns()
    shift = now - 10 * DAY - START
    spans = [span for trace in traces(40, users=9) for span in trace]
    moved = [replace(span, started=span.started + shift, ended=span.ended + shift) for span in spans]
    told = {**moved[0].attributes, "user.id": "new"}
    late = replace(moved[0], trace_id="f" * 32, started=now, ended=now + 5, attributes=told)
    with closing(connect(tmp_path / "t.db", write=True)) as connection:
        Writer(connection).write([*moved, late])
        assert prune(connection, Limits(days=12)) == 0
        assert prune(connection, Limits(days=1)) == 40
        assert [row[0] for row in connection.execute("SELECT trace_id FROM llm_calls")] == ["f" * 32]
        counts = [
            connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
            for table in ("spans", "traces", "calls", "facts")
        ]
        texts = {text for (text,) in connection.execute("SELECT text FROM texts")}
    assert counts == [1, 1, 1, 1]
    assert "new" in texts
    assert not any(text.startswith("user-") for text in texts)


def test_size_bounds_the_store(tmp_path: Path) -> None:
    """A store that is full gives up its oldest traces, keeps the newest, and its file shrinks."""
    path = tmp_path / "s.db"
    spans = fill(path, 2000)
    before = path.stat().st_size
    with closing(connect(path, write=True)) as connection:
        assert prune(connection, Limits(megabytes=1, days=0), seconds=30) > 0
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kept = [span.span_id for _, span in spans_after(connection, 0)]
    assert path.stat().st_size < before / 2
    assert path.stat().st_size < 1.2e6
    assert len(kept) > 500
    assert kept == [span.span_id for span in spans][-len(kept) :]


def test_a_writer_notices_that_another_pruned(tmp_path: Path) -> None:
    """What one process removed, another does not go on referring to."""
    path = tmp_path / "s.db"
    (spans,) = traces(1)
    with closing(connect(path, write=True)) as one, closing(connect(path, write=True)) as two:
        writer = Writer(one)
        writer.write(spans)
        prune(two, Limits(days=0.0001))
        writer.write(spans)
        assert dict(report(one, Selection(), ("feature", "user")).rows).keys() == {
            (spans[0].attributes["llmtrace.feature"], spans[0].attributes["user.id"])
        }


def test_a_failed_batch_leaves_nothing(tmp_path: Path) -> None:
    """A batch is written whole or not at all."""
    (spans,) = traces(1)
    broken = replace(spans[0], trace_id="no hex")
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        writer = Writer(connection)
        with pytest.raises(ValueError, match="hex"):
            writer.write([spans[1], broken])
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (0,)
        writer.write(spans)
        assert connection.execute("SELECT count(*) FROM spans").fetchone() == (len(spans),)


def test_one_bad_span_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A span that cannot be stored is told and left out; the rest of its batch is written."""
    spans = finished(5)
    spans[2]._context = None
    exporter = StoreExporter(tmp_path / "s.db")
    assert exporter.export(spans) is SpanExportResult.FAILURE
    exporter.shutdown()
    assert [span.attributes["n"] for span in everything(tmp_path / "s.db")] == [0, 1, 3, 4]
    assert len(caplog.records) == 1


def test_traces_are_found(tmp_path: Path) -> None:
    """By the first digits of an id, and as the last, the slowest and the dearest; with all of their spans."""
    spans = fill(tmp_path / "s.db", 50)
    roots = {span.trace_id: span for span in spans if span.parent_id is None}
    costs: dict[str, float] = dict.fromkeys(roots, 0.0)
    for span in spans:
        costs[span.trace_id] += span.attributes.get("llm.cost.total", 0.0)
    with closing(connect(tmp_path / "s.db")) as store:
        wanted = max(costs, key=costs.__getitem__)
        assert find_trace(store, wanted[:10]).trace_id == wanted
        assert traces_by(store, "dearest")[0].trace_id == wanted
        assert traces_by(store, "last")[0].trace_id == max(roots, key=lambda each: roots[each].ended)
        slowest = traces_by(store, "slowest")[0]
        assert slowest.trace_id == max(roots, key=lambda each: roots[each].ended - roots[each].started)
        found = spans_of(store, slowest)
        assert {span.span_id for span in found} == {span.span_id for span in spans if span.trace_id == slowest.trace_id}
        with pytest.raises(StoreError, match="no trace"):
            find_trace(store, "0123456789abcdef")
        with pytest.raises(StoreError, match="hexadecimal"):
            find_trace(store, "'; DROP TABLE spans; --")


class _Taking(InMemorySpanExporter):
    """Takes so many batches, then none."""

    def __init__(self, batches: int) -> None:
        super().__init__()
        self.left = batches

    def export(self, spans: Any) -> SpanExportResult:
        self.left -= 1
        return super().export(spans) if self.left >= 0 else SpanExportResult.FAILURE


def test_sending_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Each span is sent once over several runs, an interrupted one among them, just as it was."""
    spans = fill(tmp_path / "s.db", 400)
    first, second = _Taking(1), _Taking(9)
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        with pytest.raises(StoreError, match="512 were sent"):
            send(connection, first, "http://a")
        assert send(connection, second, "http://a") == len(spans) - 512
        assert send(connection, second, "http://a") == 0
        assert send(connection, _Taking(9), "http://b") == len(spans)
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
