"""Metrics of the exporters: items exported, spooled, and dropped by reason."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from .. import __version__
from ..telemetry import names
from .signals import SIGNALS
from .stats import Counts

__all__ = ["observe_stats"]


class StatsSource(Protocol):
    """An owner of export counters."""

    def counts(self) -> list[Counts]:
        """Return a copy of the counters of each route."""
        ...


_sources: weakref.WeakSet[StatsSource] = weakref.WeakSet()
_observed: weakref.WeakValueDictionary[int, MeterProvider] = weakref.WeakValueDictionary()
"""Providers with the counters, which cover all sources of the process. Keyed by id: Logfire's has no hash."""


def observe_stats(provider: MeterProvider, source: StatsSource) -> None:
    """Add observable counters to ``provider``, and include the counts of ``source``."""
    _sources.add(source)
    if id(provider) in _observed:
        return
    _observed[id(provider)] = provider
    meter = provider.get_meter("llmtrace", __version__)
    for signal in SIGNALS:
        noun, unit = signal.unit.replace(" ", "_"), "{" + signal.unit.replace(" ", "_").removesuffix("s") + "}"
        for kind, read in (("exported", _exported), ("spooled", _spooled), ("dropped", _dropped)):
            name = f"{names.METRIC_EXPORTER}{kind}_{noun}"
            meter.create_observable_counter(name, [_callback(signal.unit, read)], unit)


def _callback(
    unit: str, read: Callable[[list[Counts]], Iterable[Observation]]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return read([counts for source in list(_sources) for counts in source.counts() if counts.unit == unit])

    return observe


def _exported(all_counts: list[Counts]) -> Iterable[Observation]:
    return [Observation(sum(counts.exported for counts in all_counts))] if all_counts else []


def _spooled(all_counts: list[Counts]) -> Iterable[Observation]:
    return [Observation(sum(counts.spooled for counts in all_counts))] if all_counts else []


def _dropped(all_counts: list[Counts]) -> Iterable[Observation]:
    reasons: Counter[str] = Counter()
    for counts in all_counts:
        reasons.update(counts.dropped)
    return [Observation(items, {names.DROP_REASON: reason}) for reason, items in reasons.items()]
