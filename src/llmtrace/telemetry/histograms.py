"""Recording of many measurements at once in a histogram, whose API takes one at a time.

OpenTelemetry's SDK takes several microseconds per ``record``, more than all other work for a chunk of a stream. If its
histogram has the bucket bounds of llmtrace and the internals of the tested releases, counts are added to its buckets
directly. Otherwise each measurement is recorded through the API, on the worker thread.
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
    if not _add(histogram, counts, sums, gaps.maximum, attributes):
        worker.submit(partial(_record_each, histogram, counts, sums, dict(attributes)))


def _record_each(histogram: Any, counts: list[int], sums: list[float], attributes: Mapping[str, Any]) -> None:
    for count, total in zip(counts, sums, strict=True):
        for _ in range(count):
            histogram.record(total / count, attributes)


def _add(histogram: Any, counts: list[int], sums: list[float], high: float, attributes: Mapping[str, Any]) -> bool:
    """Add to the buckets of the SDK; return False, with nothing added, if they are not as expected."""
    try:
        with ExitStack() as locks:
            aggregations: list[Any] = []
            for storage in histogram._measurement_consumer._reader_storages.values():
                for match in storage._instrument_view_instrument_matches[histogram]:
                    locks.enter_context(match._lock)  # block a collection, which may reset the buckets
                    aggregation = _aggregation(match, attributes)
                    if aggregation is None:
                        return False
                    locks.enter_context(aggregation._lock)
                    aggregations.append(aggregation)
            for target in aggregations:
                target._value[:] = [count + added for count, added in zip(target._value, counts, strict=True)]
                target._sum += sum(sums)
                if target._record_min_max:
                    target._max = max(target._max, high)
            return bool(aggregations)
    except (AttributeError, KeyError, TypeError, ValueError):  # another provider, or a release with other internals
        return False


def _aggregation(match: Any, attributes: Mapping[str, Any]) -> Any:
    """Return the SDK's aggregation for these attributes, if it is a histogram with the bounds of llmtrace."""
    kept = match._view._attribute_keys
    wanted = attributes if kept is None else {key: value for key, value in attributes.items() if key in kept}
    for aggregation in match._attributes_aggregation.values():
        if aggregation._attributes == wanted:
            is_usable = (
                type(aggregation).__name__ == "_ExplicitBucketHistogramAggregation"
                and list(aggregation._boundaries) == _BOUNDS
                and type(aggregation._value) is list
                and len(aggregation._value) == len(_BOUNDS) + 1
            )
            return aggregation if is_usable else None
    return None
