"""Histogram of the times between chunks: all of them are recorded, at a low cost."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)

from llmtrace.capture import worker
from llmtrace.capture.stream import StreamObserver
from llmtrace.model.chunk_gaps import GAP_BOUNDS_SECONDS, ChunkGaps
from llmtrace.telemetry import histograms

NAME = "gen_ai.client.operation.time_per_output_chunk"
ATTRIBUTES = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}


def gaps_of(values: list[float]) -> ChunkGaps:
    gaps = ChunkGaps()
    for start in range(0, len(values), 256):
        gaps.add(sorted(values[start : start + 256]))
    return gaps


def random_gaps(count: int, seed: int = 7) -> list[float]:
    draw = random.Random(seed)
    return [draw.choice((0.0, 0.01, 0.02, draw.expovariate(20), draw.expovariate(0.05))) for _ in range(count)]


def points(reader: InMemoryMetricReader) -> list[Any]:
    data: Any = reader.get_metrics_data()
    metrics = (
        [] if data is None else [metric for group in data.resource_metrics for metric in group.scope_metrics[0].metrics]
    )
    return [point for metric in metrics if metric.name == NAME for point in metric.data.data_points]


def histogram(meters: MeterProvider) -> Any:
    return meters.get_meter("m").create_histogram(
        NAME, "s", explicit_bucket_boundaries_advisory=list(GAP_BOUNDS_SECONDS)
    )


@pytest.mark.parametrize("count", [1, 2, 255, 256, 257, 999, 5000])
def test_record_gaps_equals_recording_each_gap(count: int) -> None:
    """Bucket counts, sum, minimum and maximum are those of one record per gap."""
    together, alone = InMemoryMetricReader(), InMemoryMetricReader()
    first, second = MeterProvider([together]), MeterProvider([alone])
    values = random_gaps(count)
    batched, single = histogram(first), histogram(second)
    for _ in range(2):  # the second stream adds to the buckets of the first
        histograms.record_gaps(batched, gaps_of(values), ATTRIBUTES)
        for value in values:
            single.record(value, ATTRIBUTES)
    (recorded,), (expected,) = points(together), points(alone)
    assert recorded.count == 2 * count
    assert recorded.bucket_counts == expected.bucket_counts
    assert recorded.sum == pytest.approx(expected.sum)
    assert (recorded.min, recorded.max) == (expected.min, expected.max)
    first.shutdown()
    second.shutdown()


@pytest.mark.parametrize("temporality", [AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA])
def test_gaps_survive_a_collection_between_streams(temporality: AggregationTemporality) -> None:
    """A collection between two streams loses no gap."""
    reader = InMemoryMetricReader({Histogram: temporality})
    meters = MeterProvider([reader])
    instrument, total = histogram(meters), 0
    for round in range(1, 4):
        histograms.record_gaps(instrument, gaps_of(random_gaps(300, round)), ATTRIBUTES)
        (recorded,) = points(reader)
        total = total + recorded.count if temporality is AggregationTemporality.DELTA else recorded.count
        assert total == 300 * round
    meters.shutdown()


@pytest.mark.parametrize(
    ("view", "count"),
    [
        (View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation([0.1, 1])), 300),
        (View(instrument_name=NAME, aggregation=ExponentialBucketHistogramAggregation()), 300),
        (View(instrument_name=NAME, attribute_keys={"gen_ai.operation.name"}), 300),
        (View(instrument_name=NAME, aggregation=DropAggregation()), 0),
    ],
    ids=["other buckets", "exponential", "fewer attributes", "dropped"],
)
def test_gaps_are_recorded_under_a_view(view: View, count: int) -> None:
    """A view with other buckets or fewer attributes loses no gap."""
    reader, plain = InMemoryMetricReader(), InMemoryMetricReader()
    meters = MeterProvider([reader, plain], views=[view])
    histograms.record_gaps(histogram(meters), gaps_of(random_gaps(300)), ATTRIBUTES)
    assert worker.drain(60)
    for collector in (reader, plain):
        assert sum(point.count for point in points(collector)) == count
    meters.shutdown()


def test_gaps_are_recorded_one_by_one_by_other_providers() -> None:
    """A histogram of another provider gets one record per gap through the API."""

    class Foreign:
        def __init__(self) -> None:
            self.values: list[float] = []

        def record(self, value: float, attributes: Any) -> None:
            self.values.append(value)

    foreign, values = Foreign(), random_gaps(300)
    histograms.record_gaps(foreign, gaps_of(values), ATTRIBUTES)
    assert worker.drain(60)
    assert len(foreign.values) == 300
    assert sum(foreign.values) == pytest.approx(sum(values))


class _Call:
    started = 0.0
    start = SimpleNamespace(joined_span=None, wire_format=SimpleNamespace(results=None))

    def make_text_buffer(self) -> None:
        return None

    def end(self, response: Any, timing: Any = None) -> None:
        self.timing = timing


class _Accumulator:
    ended = complete = True
    failed = False

    def add(self, chunk: Any) -> bool:
        return True

    def result(self) -> Any:
        return self


@pytest.mark.parametrize("chunks", [1, 2, 257, 1000, 4000])
def test_stream_observer_reports_every_gap(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each chunk after the first adds a gap; percentiles come from a sample of bounded size."""
    values = random_gaps(chunks, seed=chunks)
    times = iter([1 + sum(values[: index + 1]) for index in range(chunks)])
    monkeypatch.setattr("llmtrace.capture.stream.perf_counter", lambda: next(times))
    call: Any = _Call()
    accumulator: Any = _Accumulator()
    observer = StreamObserver(call, accumulator)
    for _ in range(chunks):
        observer.on_chunk(None)
    observer.on_exhausted()
    timing = call.timing
    if chunks == 1:
        assert timing.gaps is None
        assert timing.gap_max is None
        return
    assert timing.gaps.count == chunks - 1
    assert sum(timing.gaps.sums) == pytest.approx(sum(values[1:]))
    assert timing.gap_max == pytest.approx(max(values[1:]))
    assert len(observer._sample) <= 128
    exact = sorted(values[1:])
    low, high = (exact[int((chunks - 1) * share)] for share in (0.9, 0.99))
    assert low - 1e-9 <= timing.gap_p95 <= high + 1e-9


def test_call_without_chunks_records_no_gap() -> None:
    """A stream without chunks adds no point."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    histograms.record_gaps(histogram(meters), ChunkGaps(), ATTRIBUTES)
    assert points(reader) == []
    meters.shutdown()
