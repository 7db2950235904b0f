"""The queue between the program and an exporter: what it does when either does not keep up or fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult

from llmtrace.export import batch
from llmtrace.export.batch import BatchLimits, ExporterSink, SpanBatchProcessor
from llmtrace.export.signals import TRACES
from llmtrace.export.stats import ExportStats


class Exporter(SpanExporter):
    """Takes what it is given, when it is let."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.answer: SpanExportResult | Exception = SpanExportResult.SUCCESS
        self.flushed: bool | None = None
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.busy.set()
        self.go_on.wait(30)
        if isinstance(self.answer, Exception):
            raise self.answer
        self.names += [span.name for span in spans]
        return self.answer

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self.flushed  # type: ignore[return-value] # as those do that say nothing


class Some(Sampler):
    """Records all, and samples all but those called so."""

    def should_sample(  # type: ignore[override] # parameters vary by release
        self, context: object, trace_id: int, name: str, *_: object, **__: object
    ) -> SamplingResult:
        return SamplingResult(Decision.RECORD_ONLY if name == "unsampled" else Decision.RECORD_AND_SAMPLE)

    def get_description(self) -> str:
        return "some"


@contextmanager
def writing(exporter: Exporter) -> Iterator[tuple[Callable[[str], None], SpanBatchProcessor, ExportStats]]:
    ledger = ExportStats()
    made = SpanBatchProcessor(ExporterSink(exporter, ledger, TRACES), ledger)
    provider = TracerProvider(sampler=Some(), shutdown_on_exit=False)
    provider.add_span_processor(made)
    yield lambda name: provider.get_tracer("test").start_span(name).end(), made, ledger
    exporter.go_on.set()
    provider.shutdown()


@pytest.mark.parametrize("told", ["0", "-5", "soon", ""])
def test_a_limit_that_means_nothing_is_the_default(told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with OpenTelemetry's own, no batch is ever of nothing."""
    for variable in ("SCHEDULE_DELAY", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(f"OTEL_BSP_{variable}", told)
    assert [getattr(BatchLimits(), name) for name in BatchLimits.__slots__] == [512, 1.0, 8192]


def test_only_what_was_sampled_is_written_until_the_end() -> None:
    """A span that was only recorded is nobody's; one that ends after the shutdown is counted, and flush still says."""
    exporter = Exporter()
    with writing(exporter) as (end, made, ledger):
        for name in ("a", "unsampled", "b"):
            end(name)
        assert made.force_flush()
        assert exporter.names == ["a", "b"]
        made.shutdown()
        end("late")
        assert made.force_flush()
        made.shutdown()
    assert exporter.names == ["a", "b"]
    assert (ledger.counts().exported, ledger.counts().dropped) == (2, {"after_shutdown": 1})


@pytest.mark.parametrize("answer", [SpanExportResult.FAILURE, OSError("broken")])
@pytest.mark.faulty
def test_an_exporter_that_fails_is_counted(answer: SpanExportResult | Exception) -> None:
    """What it did not take is lost, flush says so once, and what comes later is written."""
    exporter = Exporter()
    with writing(exporter) as (end, made, ledger):
        exporter.answer = answer
        end("a")
        assert not made.force_flush()
        exporter.answer = SpanExportResult.SUCCESS
        end("b")
        assert made.force_flush()
        exporter.flushed = False
        assert not made.force_flush()
    assert ledger.counts().dropped == {"exporter": 1}
    assert exporter.names[-1] == "b"


def test_a_queue_that_is_full_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program waits for a moment, and not again until something was written; what finds no room is counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # however slow the machine, a and b are one batch
    monkeypatch.setattr(batch, "_QUEUE_FULL_TIMEOUT_SECONDS", 0.05)
    exporter = Exporter()
    exporter.go_on.clear()
    with writing(exporter) as (end, made, ledger):
        end("a")
        end("b")
        assert exporter.busy.wait(30)
        for name in ("c", "d", "lost", "lost"):  # the first two have room: a and b are being written
            end(name)
        assert ledger.counts().dropped == {"queue_full": 2}
        assert not made.force_flush(1)
        monkeypatch.setattr(batch, "_QUEUE_FULL_TIMEOUT_SECONDS", 30)
        exporter.go_on.set()
        assert not made.force_flush()  # two were lost
        for number in range(20):
            end(str(number))
        assert made.force_flush()
    assert ledger.counts().dropped == {"queue_full": 2}
    assert exporter.names == ["a", "b", "c", "d", *map(str, range(20))]


def test_an_end_that_cannot_wait_counts_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing while an exporter hangs comes back, and says that not all arrived."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    exporter = Exporter()
    exporter.go_on.clear()
    with writing(exporter) as (end, made, ledger):
        end("a")
        assert exporter.busy.wait(30)
        end("b")
        assert not made.close(0.0)
        assert ledger.counts().dropped == {"exit": 1}
        exporter.go_on.set()
        thread = made._thread
        assert thread is not None
        thread.join(30)
        assert exporter.names == ["a"]  # a span that is counted as lost is not exported later


def test_durable_sink_is_written_although_the_deadline_has_passed() -> None:
    """A close without time left writes the queue itself, unless the writer does: nothing is counted as lost."""
    written: list[object] = []

    class Durable(ExporterSink):
        def write(self, batch: Sequence[object]) -> None:
            written.extend(batch)

        def close(self, deadline: float) -> bool:
            return True

    ledger = ExportStats()
    made = batch.BatchProcessor(Durable(Exporter(), ledger, TRACES, durable=True), ledger)
    made._delay_seconds = 60.0  # the writer waits for more items
    made.enqueue("a")
    assert not made.close(0.0)
    assert written == ["a"]
    assert ledger.counts().dropped == {}
