"""Many measurements at once into a histogram, whose API takes one at a time.

OpenTelemetry's SDK needs several microseconds for each ``record``, more than all else that a chunk of a stream costs.
Where its histogram has our buckets, and keeps them as the known releases do, they are added to directly; anywhere else
each measurement is recorded through the API, on the worker's thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from ..capture import worker
from ..model.chunk_gaps import GAP_BOUNDS_SECONDS, ChunkGaps

__all__ = ["record_gaps"]

_BOUNDS = list(GAP_BOUNDS_SECONDS)


def record_gaps(histogram: Any, gaps: ChunkGaps, attributes: Mapping[str, Any]) -> None:
    """Record every gap. The first goes through the API, so that the SDK has made what the others are added to."""
    counts, sums = list(gaps.counts), list(gaps.sums)
    first = next((bucket for bucket, count in enumerate(counts) if count), None)
    if first is None:
        return
    histogram.record(gaps.minimum, attributes)
    counts[first] -= 1
    sums[first] = max(0.0, sums[first] - gaps.minimum)
    if not any(counts):
        return
    if not _add(histogram, counts, sums, gaps.maximum, attributes):
        worker.submit(partial(_record_each, histogram, counts, sums, dict(attributes)))


def _record_each(histogram: Any, counts: list[int], sums: list[float], attributes: Mapping[str, Any]) -> None:
    for count, total in zip(counts, sums, strict=True):
        for _ in range(count):
            histogram.record(total / count, attributes)


def _add(histogram: Any, counts: list[int], sums: list[float], high: float, attributes: Mapping[str, Any]) -> bool:
    """Add to the SDK's own buckets. False, and nothing done, where they are not as expected."""
    try:
        with ExitStack() as locks:
            found: list[Any] = []
            for storage in histogram._measurement_consumer._reader_storages.values():
                for match in storage._instrument_view_instrument_matches[histogram]:
                    locks.enter_context(match._lock)  # a collection waits, which may start the buckets anew
                    aggregation = _aggregation(match, attributes)
                    if aggregation is None:
                        return False
                    locks.enter_context(aggregation._lock)
                    found.append(aggregation)
            for each in found:
                each._value[:] = [known + more for known, more in zip(each._value, counts, strict=True)]
                each._sum += sum(sums)
                if each._record_min_max:
                    each._max = max(each._max, high)
            return bool(found)
    except (AttributeError, KeyError, TypeError, ValueError):  # another provider, or a release that keeps it otherwise
        return False


def _aggregation(match: Any, attributes: Mapping[str, Any]) -> Any:
    """Return what the SDK adds these attributes up in, if it is a histogram with our buckets."""
    kept = match._view._attribute_keys
    wanted = attributes if kept is None else {key: value for key, value in attributes.items() if key in kept}
    for each in match._attributes_aggregation.values():
        if each._attributes == wanted:
            good = type(each).__name__ == "_ExplicitBucketHistogramAggregation" and list(each._boundaries) == _BOUNDS
            return each if good and type(each._value) is list and len(each._value) == len(_BOUNDS) + 1 else None
    return None
