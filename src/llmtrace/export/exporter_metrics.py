"""Metrics of the exporters: items exported, spooled, and dropped by reason."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from .. import __version__
from ..telemetry import names
from .signals import SIGNALS

if TYPE_CHECKING:
    from .pipeline import Pipeline


_sources: weakref.WeakSet[Pipeline] = weakref.WeakSet()
_observed: weakref.WeakValueDictionary[int, MeterProvider] = weakref.WeakValueDictionary()
"""Providers with the counters, which cover all sources of the process. Keyed by id: Logfire's has no hash."""


def observe_stats(provider: MeterProvider, source: Pipeline) -> None:
    """Add observable counters to ``provider``, and include the counts of ``source``."""
    _sources.add(source)
    if id(provider) in _observed:
        return
    _observed[id(provider)] = provider
    meter = provider.get_meter("llmtrace", __version__)
    for signal in SIGNALS:
        noun = signal.unit.replace(" ", "_")
        for kind in ("exported", "spooled", "dropped"):
            name = f"{names.METRIC_EXPORTER}{kind}_{noun}"
            meter.create_observable_counter(name, [_callback(signal.unit, kind)], f"{{{noun.removesuffix('s')}}}")


def _callback(unit: str, kind: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(options: CallbackOptions) -> Iterable[Observation]:
        all_counts = [counts for source in list(_sources) for counts in source.counts() if counts.unit == unit]
        if kind == "dropped":
            reasons: Counter[str] = sum((Counter(counts.dropped) for counts in all_counts), Counter())
            return [Observation(items, {names.DROP_REASON: reason}) for reason, items in reasons.items()]
        return [Observation(sum(getattr(counts, kind) for counts in all_counts))] if all_counts else []

    return observe
