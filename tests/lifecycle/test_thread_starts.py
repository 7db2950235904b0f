"""Finalizers may run on a thread that is being started: nothing waits for it while it holds a lock that they need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from llmtrace import Settings
from llmtrace.budgets.remote_store import RemoteStore
from llmtrace.budgets.stores import Claim
from llmtrace.capture import worker
from llmtrace.export.batch import BatchProcessor
from llmtrace.export.pipeline import Pipeline
from llmtrace.export.stats import ExportStats
from llmtrace.telemetry.upload import UntruncatedContent, Uploads

CONTENT = {"gen_ai.input.messages": UntruncatedContent([{"role": "user"}], None, False)}
CLAIM = Claim("budget::day", 10_000, 1_000, 600, True)


class ThreadStarts:
    """Starts of our threads, each of which runs ``finalizer`` before ``start`` returns, as the collector may."""

    def __init__(self) -> None:
        self.finalizer: Callable[[], object] | None = None
        self.threads: list[str] = []

    def check(self, finalizer: Callable[[], object], action: Callable[[], object]) -> None:
        """Run ``action``, and fail if a thread that it starts waits for a lock, or if it starts none."""
        self.finalizer = finalizer
        thread = threading.Thread(target=action, daemon=True)
        thread.start()
        thread.join(30)
        self.finalizer = None
        assert not thread.is_alive()
        assert self.threads


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> Iterator[ThreadStarts]:
    starts, start = ThreadStarts(), threading.Thread.start

    class Started(threading.Event):
        def set(self) -> None:
            if starts.finalizer is not None:
                starts.finalizer()
            super().set()

    def start_with_finalizer(thread: Any) -> None:
        if thread.name.startswith("llmtrace-"):
            starts.threads.append(thread.name)
            thread._started = Started()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_with_finalizer)
    yield starts
    starts.finalizer = None


class Sink:
    """A sink that starts no thread."""

    durable = True
    has_backlog = False

    def __init__(self) -> None:
        self.written: list[object] = []

    def start(self) -> None: ...
    def retry(self) -> None: ...
    def rest(self, deadline: float) -> None: ...
    def after_fork(self) -> None: ...

    def write(self, batch: Any) -> None:
        self.written.extend(batch)

    def flush(self, deadline: float) -> bool:
        return True

    def close(self, deadline: float) -> bool:
        return True


def test_worker_takes_tasks_while_it_starts(starts: ThreadStarts) -> None:
    """A stream that is collected on the new worker ends on it, once it runs."""
    worker._reset()
    order: list[str] = []

    def finalize() -> None:
        worker.start()  # a call that ends may need the worker
        worker.submit(lambda: order.append(f"ended {worker.is_worker()}"))
        order.append("collected")

    starts.check(finalize, worker.start)
    assert worker.drain(30)
    assert order == ["collected", "ended True"]


def test_processor_takes_items_while_its_thread_starts(starts: ThreadStarts) -> None:
    """A span that ends on the new writer thread is queued."""
    sink = Sink()
    processor = BatchProcessor(sink, ExportStats())
    starts.check(lambda: processor.enqueue("second"), lambda: processor.enqueue("first"))
    assert processor.close(time.monotonic() + 30)
    assert sorted(sink.written, key=str) == ["first", "second"]


def test_provider_is_available_while_its_threads_start(
    starts: ThreadStarts, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A call that ends on the new thread of the metric reader finds the meter provider."""
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://127.0.0.1:9/v1/metrics")
    pipeline = Pipeline(Settings(spool=str(tmp_path), store="off"))
    starts.check(pipeline.meters, pipeline.meters)
    assert {"llmtrace-collect", "llmtrace-send"} <= {*starts.threads}
    pipeline.shutdown(1)


def test_budget_store_takes_settlements_while_its_thread_starts(starts: ThreadStarts) -> None:
    """A call that ends on the new thread of the budget store is settled."""

    class Backend:
        def run(self, steps: Any) -> list[Any]:
            return [1] * len(steps)

    store = RemoteStore(Backend())
    starts.check(lambda: store.settle("b", [CLAIM], [1]), lambda: store.settle("a", [CLAIM], [1]))
    assert store.drain(30)


def test_uploads_take_files_while_a_thread_starts(starts: ThreadStarts, tmp_path: Path) -> None:
    """Content of a call that ends on a new upload thread is queued."""
    pytest.importorskip("fsspec")
    uploads = Uploads(str(tmp_path))
    first = threading.Event()

    def finalize() -> None:
        if not first.is_set():  # its own thread would finalize too
            first.set()
            assert uploads.send(CONTENT)

    starts.check(finalize, lambda: uploads.send(CONTENT))
    with suppress(OSError):
        assert uploads.close(30)
    assert len([*tmp_path.iterdir()]) == 2
