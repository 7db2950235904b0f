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
    stats = ExportStats()
    processor = SpanBatchProcessor(ExporterSink(exporter, stats, TRACES), stats)
    provider = TracerProvider(sampler=Some(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    yield lambda name: provider.get_tracer("test").start_span(name).end(), processor, stats
    exporter.go_on.set()
    provider.shutdown()


@pytest.mark.parametrize("value", ["0", "-5", "soon", ""])
def test_invalid_batch_limit_falls_back_to_the_default(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with OpenTelemetry's own, no batch is ever of nothing."""
    for variable in ("SCHEDULE_DELAY", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE"):
        monkeypatch.setenv(f"OTEL_BSP_{variable}", value)
    assert [getattr(BatchLimits(), name) for name in BatchLimits.__slots__] == [512, 1.0, 8192]


def test_only_sampled_spans_are_written_until_shutdown() -> None:
    """An unsampled span is not exported, and one that ends after the shutdown is counted as dropped."""
    exporter = Exporter()
    with writing(exporter) as (end, processor, stats):
        for name in ("a", "unsampled", "b"):
            end(name)
        assert processor.force_flush()
        assert exporter.names == ["a", "b"]
        processor.shutdown()
        end("late")
        assert processor.force_flush()
        processor.shutdown()
    assert exporter.names == ["a", "b"]
    assert (stats.counts().exported, stats.counts().dropped) == (2, {"after_shutdown": 1})


@pytest.mark.parametrize("answer", [SpanExportResult.FAILURE, OSError("broken")])
@pytest.mark.faulty
def test_spans_of_a_failing_exporter_are_counted(answer: SpanExportResult | Exception) -> None:
    """What it did not take is lost, flush says so once, and what comes later is written."""
    exporter = Exporter()
    with writing(exporter) as (end, processor, stats):
        exporter.answer = answer
        end("a")
        assert not processor.force_flush()
        exporter.answer = SpanExportResult.SUCCESS
        end("b")
        assert processor.force_flush()
        exporter.flushed = False
        assert not processor.force_flush()
    assert stats.counts().dropped == {"exporter": 1}
    assert exporter.names[-1] == "b"


def test_full_queue_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program waits for a moment, and not again until something was written; what finds no room is counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")  # however slow the machine, a and b are one batch
    monkeypatch.setattr(batch, "_QUEUE_FULL_TIMEOUT_SECONDS", 0.05)
    exporter = Exporter()
    exporter.go_on.clear()
    with writing(exporter) as (end, processor, stats):
        end("a")
        end("b")
        assert exporter.busy.wait(30)
        for name in ("c", "d", "lost", "lost"):  # the first two have room: a and b are being written
            end(name)
        assert stats.counts().dropped == {"queue_full": 2}
        assert not processor.force_flush(1)
        monkeypatch.setattr(batch, "_QUEUE_FULL_TIMEOUT_SECONDS", 30)
        exporter.go_on.set()
        assert not processor.force_flush()  # two were lost
        for number in range(20):
            end(str(number))
        assert processor.force_flush()
    assert stats.counts().dropped == {"queue_full": 2}
    assert exporter.names == ["a", "b", "c", "d", *map(str, range(20))]


def test_close_without_time_counts_the_remaining_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing while an exporter hangs comes back, and says that not all arrived."""
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    exporter = Exporter()
    exporter.go_on.clear()
    with writing(exporter) as (end, processor, stats):
        end("a")
        assert exporter.busy.wait(30)
        end("b")
        assert not processor.close(0.0)
        assert stats.counts().dropped == {"exit": 1}
        exporter.go_on.set()
        thread = processor._thread
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

    stats = ExportStats()
    processor = batch.BatchProcessor(Durable(Exporter(), stats, TRACES, durable=True), stats)
    processor._delay_seconds = 60.0  # the writer waits for more items
    processor.enqueue("a")
    assert not processor.close(0.0)
    assert written == ["a"]
    assert stats.counts().dropped == {}
