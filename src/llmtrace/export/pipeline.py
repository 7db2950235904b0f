"""Where spans, metrics and logs go, and what became of them."""

from __future__ import annotations

import time
from typing import Any

from .._settings import Settings
from .declarative_config import DeclarativeConfig
from .routes import NO_ARGUMENTS, Arguments, LocalDestination
from .signal_provider import SignalProvider
from .signals import LOGS, METRICS, TRACES
from .stats import Counts

__all__ = ["Pipeline"]


class Pipeline:
    """Gives every call its providers, and looks after those that are ours."""

    def __init__(
        self,
        settings: Settings,
        tracer_provider: Any = None,
        meter_provider: Any = None,
        logger_provider: Any = None,
        arguments: Arguments = NO_ARGUMENTS,
        local_store: LocalDestination | None = None,
    ) -> None:
        declared = DeclarativeConfig()
        self._traces = SignalProvider(TRACES, settings, tracer_provider, declared, local_store, arguments)
        self._metrics = SignalProvider(METRICS, settings, meter_provider, declared, arguments=arguments)
        self._logs = SignalProvider(LOGS, settings, logger_provider, declared, arguments=arguments)
        self._channels = (self._traces, self._metrics, self._logs)
        self.provider = self._traces.provider
        self.loggers = self._logs.provider
        self.own = self._traces.own
        self._without_metrics = settings.metrics == "off"
        self._measured: Any = None

    def stores(self) -> bool:
        """Return True if spans go to the local store."""
        return self._traces.stores and self._traces.own()

    def meters(self) -> Any:
        """The meter provider of the moment, which is told of our own counters too; ``None`` when there is none."""
        provider = self._metrics.provider()
        if provider is not self._measured:
            self._measured = provider
            if provider is not None:
                from .exporter_metrics import observe_stats

                observe_stats(provider, self)
        return provider

    def owned(self) -> bool:
        """Whether anything leaves through exporters of ours."""
        return self.own() or any(channel.writes() for channel in self._channels)

    def prepare(self) -> None:
        """Build our exporters now if they will be needed, so that a wrong variable is reported at once."""
        for channel in self._channels:
            if channel is not self._metrics or not self._without_metrics:
                channel.prepare()

    def where(self) -> list[str]:
        """For people: where spans go, as far as we decide it."""
        return self._traces.where()

    def counts(self) -> list[Counts]:
        """The counters of each of our routes, those of traces first."""
        return [counts for channel in self._channels for counts in channel.counts()]

    def flush(self, timeout: float) -> bool:
        """Send what is waiting. ``True`` when all of it reached its destination in time."""
        deadline = time.monotonic() + max(0.0, timeout)
        # Each is waited for: all are on their way by then.
        return all([channel.flush(deadline) for channel in self._channels])

    def rest(self, timeout: float) -> None:
        """Stop the threads and close the files of our exporters until they are needed again."""
        deadline = time.monotonic() + max(0.0, timeout)
        for channel in self._channels:
            channel.rest(deadline)

    def shutdown(self, timeout: float) -> bool:
        """Flush, and close the providers that are ours. One that is not ours is only flushed."""
        deadline = time.monotonic() + max(0.0, timeout)
        return all([channel.shutdown(deadline) for channel in self._channels])
