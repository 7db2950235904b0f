"""What became of what was traced, as metrics of the process: exported, spooled, and dropped by reason."""

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


class Counted(Protocol):
    """What knows its counters."""

    def counts(self) -> list[Counts]: ...


_counted: weakref.WeakSet[Counted] = weakref.WeakSet()
_observed: weakref.WeakValueDictionary[int, MeterProvider] = weakref.WeakValueDictionary()
"""Providers that have the counters: they are the process's, not of one instrumentation. By identity, as Logfire's has
no hash."""


def observe_stats(provider: MeterProvider, counted: Counted) -> None:
    """Have ``provider`` count what ``counted`` counts."""
    _counted.add(counted)
    if id(provider) in _observed:
        return
    _observed[id(provider)] = provider
    meter = provider.get_meter("llmtrace", __version__)
    for signal in SIGNALS:
        noun, unit = signal.unit.replace(" ", "_"), "{" + signal.unit.replace(" ", "_").removesuffix("s") + "}"
        for what, read in (("exported", _exported), ("spooled", _spooled), ("dropped", _dropped)):
            name = f"{names.METRIC_EXPORTER}{what}_{noun}"
            meter.create_observable_counter(name, [_callback(signal.unit, read)], unit)


def _callback(
    unit: str, read: Callable[[list[Counts]], Iterable[Observation]]
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        return read([counts for each in list(_counted) for counts in each.counts() if counts.unit == unit])

    return observe


def _exported(found: list[Counts]) -> Iterable[Observation]:
    return [Observation(sum(counts.exported for counts in found))] if found else []


def _spooled(found: list[Counts]) -> Iterable[Observation]:
    return [Observation(sum(counts.spooled for counts in found))] if found else []


def _dropped(found: list[Counts]) -> Iterable[Observation]:
    reasons: Counter[str] = Counter()
    for counts in found:
        reasons.update(counts.dropped)
    return [Observation(items, {names.DROP_REASON: reason}) for reason, items in reasons.items()]
