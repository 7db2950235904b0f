"""Recording of many measurements at once in a histogram, whose API takes one at a time.

OpenTelemetry's SDK takes several microseconds per ``record``, more than all other work for a chunk of a stream.
Therefore counts are added to the buckets of its histogram directly where that is possible. Otherwise each one is
recorded through the API, on the worker thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from .._compat.histogram_buckets import add_to_buckets
from ..capture import worker
from ..model.chunk_gaps import GAP_BOUNDS_SECONDS, ChunkGaps

_BOUNDS = list(GAP_BOUNDS_SECONDS)


def record_gaps(histogram: Any, gaps: ChunkGaps, attributes: Mapping[str, Any]) -> None:
    """Record every gap of a stream, in seconds.

    The first gap goes through the API, so that the SDK creates the buckets to which the others are added.
    """
    counts, sums = list(gaps.counts), list(gaps.sums)
    first = next((bucket for bucket, count in enumerate(counts) if count), None)
    if first is None:
        return
    histogram.record(gaps.minimum, attributes)
    counts[first] -= 1
    sums[first] = max(0.0, sums[first] - gaps.minimum)
    if not any(counts):
        return
    if not add_to_buckets(histogram, _BOUNDS, counts, sums, gaps.maximum, attributes):
        worker.submit(partial(_record_each, histogram, counts, sums, dict(attributes)))


def _record_each(histogram: Any, counts: list[int], sums: list[float], attributes: Mapping[str, Any]) -> None:
    for count, total in zip(counts, sums, strict=True):
        for _ in range(count):
            histogram.record(total / count, attributes)
