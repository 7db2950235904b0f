"""The collector may strike on any thread, also on ours: no finalizer waits there, and every dropped stream arrives."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from export.backend import Backend
from llmtrace.capture import worker
from llmtrace.capture.stream import StreamObserver
from llmtrace.telemetry.operations import OperationSpans

from .programs import CALLS, environment, run

DROPPED = """
import gc, threading
threads = set()
collect = False
def redact(text):
    global collect
    threads.add(threading.current_thread().name)
    if collect:  # as any code may that makes enough objects, once on each thread
        collect = False
        gc.collect()
    return text
llmtrace.instrument(capture_content=True, redact=redact)
ask(); llmtrace.flush(20)
gc.disable()
class Cycle: pass
def drop():
    one = Cycle()
    one.itself = one
    one.stream = ask(stream=True)
    next(iter(one.stream))
for _ in range(40): drop()
"""


@pytest.mark.parametrize("exporter", ["http", "store"])
def test_dropped_streams_collected_on_an_internal_thread_all_arrive(
    exporter: str, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """40 streams that the collector finds while content is redacted end their spans, at exit, without a lost one."""
    variables = {"LLMTRACE_STORE": str(tmp_path / "calls.db")}
    if exporter == "http":
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}
    code = (
        CALLS
        + DROPPED
        + (
            "collect = True\nask()\nassert llmtrace.flush(20)\nassert not collect\nassert llmtrace.flush(20)\n"
            "assert any(name.startswith('llmtrace-') for name in threads), threads\n"
            "from llmtrace._api import _every_instrumentation\n"
            "(counts,) = _every_instrumentation()[0]._runtime.pipeline.counts()[:1]\nprint(counts.exported)\n"
        )
    )
    out = run(tmp_path / "program.py", code, environment(vendor, **variables))
    assert int(out.split()[-1]) == 42


def test_submit_from_the_worker_itself_does_not_wait() -> None:
    """Work that submits more work, as a finalizer does there, goes on at once; the rest is done afterwards."""
    worker.start()
    order: list[str] = []

    def outer() -> None:
        inner = worker.submit(lambda: order.append("inner"))
        order.append(f"outer {inner.is_set()}")
        assert worker.drain(60)  # on this thread there is nothing to wait for

    worker.submit(outer)
    assert worker.drain(30)
    assert worker.drain(30)
    assert order == ["outer False", "inner"]


def test_finalizer_of_a_dropped_stream_does_not_wait(vendor: str, spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropping a stream while the worker is busy returns at once, on the thread that drops."""
    import openai

    go_on, busy = threading.Event(), threading.Event()

    def block() -> None:
        busy.set()
        go_on.wait(60)

    ask: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": True}
    with openai.OpenAI(base_url=vendor, api_key="x", max_retries=0) as client:
        stream = client.chat.completions.create(**ask)
        iterator = iter(stream)
        next(iterator)
        worker.submit(block)
        assert busy.wait(30)
        waited: list[object] = []
        monkeypatch.setattr(threading.Event, "wait", lambda *arguments: waited.append(arguments))
        del stream, iterator
        gc.collect()
        monkeypatch.undo()
        assert waited == []
        go_on.set()
    (span,) = spans.get_finished_spans()
    assert span.attributes["llmtrace.stream.end"] == "dropped"


def test_full_queue_does_not_make_the_writer_wait_for_itself() -> None:
    """A span that a finalizer ends on the writer's thread while the queue is full is taken, without waiting."""
    from llmtrace.export.batch import BatchLimits, BatchProcessor
    from llmtrace.export.stats import ExportStats

    limits, stats = BatchLimits(), ExportStats()
    limits.queue = limits.batch = 1
    written: list[object] = []

    class Sink:
        durable = True
        has_backlog = False

        def start(self) -> None: ...
        def retry(self) -> None: ...
        def write(self, batch: Any) -> None:
            if batch == ["first"]:
                processor.enqueue("late one")
                processor.enqueue("late two")
            written.extend(batch)

        def flush(self, deadline: float) -> bool:
            return True

        def close(self, deadline: float) -> bool:
            return True

        def rest(self, deadline: float) -> None: ...
        def after_fork(self) -> None: ...

    processor = BatchProcessor(Sink(), stats, limits)
    processor.enqueue("first")
    assert processor.flush(time.monotonic() + 30)
    processor.close(time.monotonic() + 30)
    assert written == ["first", "late one", "late two"]
    assert stats.counts().dropped == {}


def test_stream_that_is_dropped_ends_on_the_worker(
    vendor: str, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream that is collected does not end on that thread, which may hold a lock, or start while one is held."""
    ended: list[bool] = []
    end = StreamObserver._finish
    monkeypatch.setattr(
        StreamObserver, "_finish", lambda *args, **options: (ended.append(worker.is_worker()), end(*args, **options))
    )
    client = openai.OpenAI(base_url=vendor, api_key="x", max_retries=0)
    stream = client.chat.completions.create(model="m", messages=[], stream=True)
    next(stream)
    del stream
    gc.collect()
    assert len(spans.get_finished_spans()) == 1
    assert ended == [True]
    client.close()


def test_decorated_generator_that_is_collected_ends_on_the_worker(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The span of a generator of the program ends off the thread that collects it, which may hold any lock."""
    ended: list[bool] = []
    end = OperationSpans._end
    monkeypatch.setattr(OperationSpans, "_end", lambda *args: (ended.append(worker.is_worker()), end(*args)))

    @llmtrace.retrieval("atlas")
    def search() -> Iterator[int]:
        yield 1

    with llmtrace.agent("guide"):
        results = search()
        next(results)
        del results
        gc.collect()
        assert worker.drain(30)
        assert ended == [True]
    assert [span.name for span in spans.get_finished_spans()] == ["retrieval", "invoke_agent guide"]
