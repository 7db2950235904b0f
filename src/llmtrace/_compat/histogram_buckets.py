"""Buckets of the histograms of OpenTelemetry's SDK, whose API takes one measurement at a time."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

from . import warn_missing


def add_to_buckets(
    histogram: Any,
    bounds: list[float],
    counts: list[int],
    sums: list[float],
    maximum: float,
    attributes: Mapping[str, Any],
) -> bool:
    """Add counted measurements to a histogram.

    Args:
        histogram: The instrument of the SDK.
        bounds: The bounds that its buckets must have.
        counts: The number of measurements in each bucket.
        sums: The sum of the measurements in each bucket.
        maximum: The largest measurement.
        attributes: The attributes of all of them. They must have been recorded once, so that the buckets exist.

    Returns:
        False, with nothing added, if the buckets are not as expected.
    """
    try:
        with ExitStack() as locks:
            aggregations: list[Any] = []
            for storage in histogram._measurement_consumer._reader_storages.values():
                for match in storage._instrument_view_instrument_matches[histogram]:
                    locks.enter_context(match._lock)  # block a collection, which may reset the buckets
                    aggregation = _aggregation(match, bounds, attributes)
                    if aggregation is None:
                        return False
                    locks.enter_context(aggregation._lock)
                    # Read every name before the first write.
                    highest = aggregation._max if aggregation._record_min_max else None
                    aggregations.append((aggregation, aggregation._sum, highest))
            for target, total, highest in aggregations:
                target._value[:] = [count + added for count, added in zip(target._value, counts, strict=True)]
                target._sum = total + sum(sums)
                if highest is not None:
                    target._max = max(highest, maximum)
            return bool(aggregations)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, AttributeError) and type(histogram).__module__.startswith("opentelemetry.sdk."):
            warn_missing("OpenTelemetry", f"sdk.metrics: {error.name}", "each gap between chunks is recorded by itself")
        return False


def _aggregation(match: Any, bounds: list[float], attributes: Mapping[str, Any]) -> Any:
    """Return the SDK's aggregation for these attributes, if it is a histogram with the bounds of llmtrace."""
    kept = match._view._attribute_keys
    wanted = attributes if kept is None else {key: value for key, value in attributes.items() if key in kept}
    for aggregation in match._attributes_aggregation.values():
        if aggregation._attributes == wanted:
            is_usable = (
                type(aggregation).__name__ == "_ExplicitBucketHistogramAggregation"
                and list(aggregation._boundaries) == bounds
                and type(aggregation._value) is list
                and len(aggregation._value) == len(bounds) + 1
            )
            return aggregation if is_usable else None
    return None
