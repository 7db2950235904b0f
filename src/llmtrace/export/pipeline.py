"""Export pipeline of spans, metrics, logs and scores."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any

from .._settings import Settings
from .batch import BatchProcessor
from .declarative_config import load_providers
from .phoenix import ScoreBatchProcessor, open_annotations
from .routes import NO_ARGUMENTS, Arguments, OpenStore, Routes
from .signal_provider import SignalProvider
from .signals import LOGS, METRICS, TRACES
from .stats import Counts


class Pipeline:
    """The providers of all signals. It also flushes and closes our own."""

    def __init__(
        self,
        settings: Settings,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
        arguments: Arguments = NO_ARGUMENTS,
        open_store: OpenStore | None = None,
    ) -> None:
        load_declared = cache(load_providers)
        routes = Routes(settings, open_store, arguments)
        self._traces = SignalProvider(TRACES, routes, tracer_provider, load_declared)
        self._metrics = SignalProvider(METRICS, routes, meter_provider, load_declared)
        self._logs = SignalProvider(LOGS, routes, logger_provider, load_declared)
        self._signal_providers = (self._traces, self._metrics, self._logs)
        self.annotations: ScoreBatchProcessor | None = open_annotations(settings, arguments.endpoint)
        self._exports: list[SignalProvider | BatchProcessor] = [*self._signal_providers]
        if self.annotations is not None:
            self._exports.append(self.annotations)
        self.provider: Callable[[], Any] = self._traces.provider
        self.loggers: Callable[[], Any] = self._logs.provider
        self.own: Callable[[], bool] = self._traces.own
        self._without_metrics = settings.metrics == "off"
        self._observed_provider: Any = None

    def stores(self) -> bool:
        """Return True if spans go to the local store."""
        return self._traces.stores and self._traces.own()

    def meters(self) -> Any:
        """Return the current meter provider, which also observes our export counters; ``None`` if there is none."""
        provider = self._metrics.provider()
        if provider is not self._observed_provider:
            self._observed_provider = provider
            if provider is not None:
                from .exporter_metrics import observe_stats

                observe_stats(provider, self)
        return provider

    def owned(self) -> bool:
        """Return True if any signal is exported by our own exporters."""
        return self.own() or any(signal_provider.writes() for signal_provider in self._signal_providers)

    def prepare(self) -> None:
        """Build our exporters now if they will be needed, so that a wrong variable is reported at once."""
        for signal_provider in self._signal_providers:
            if signal_provider is not self._metrics or not self._without_metrics:
                signal_provider.prepare()

    def counts(self) -> list[Counts]:
        """Return the counters of each of our routes, those of traces first."""
        return [counts for signal_provider in self._signal_providers for counts in signal_provider.counts()]

    def flush(self, timeout: float) -> bool:
        """Send all queued items. Return True if all arrived within ``timeout`` seconds."""
        deadline = time.monotonic() + max(0.0, timeout)
        # Build a list, so that everything is flushed even if an earlier part fails.
        return all([each.flush(deadline) for each in self._exports])

    def rest(self, timeout: float) -> None:
        """Stop the threads and close the files of our exporters until they are needed again."""
        deadline = time.monotonic() + max(0.0, timeout)
        for each in self._exports:
            each.rest(deadline)

    def shutdown(self, timeout: float) -> bool:
        """Flush all providers and close our own, within ``timeout`` seconds. Return True if all items arrived."""
        deadline = time.monotonic() + max(0.0, timeout)
        return all([each.close(deadline) for each in self._exports])
