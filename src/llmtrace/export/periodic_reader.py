"""The metric reader: collects once per interval, and whenever it is asked for all there is."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any

from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from .. import _errors
from .._compat.opentelemetry_context import SUPPRESS_KEY
from .._settings.opentelemetry import warn_once
from . import exit_hooks
from .batch import Sink
from .stats import ExportStats

__all__ = ["PeriodicReader"]

_DEFAULT = 60.0


class PeriodicReader(MetricReader):
    """Collects on a thread of its own every ``OTEL_METRIC_EXPORT_INTERVAL``, and writes into the sink.

    It lives in the process that made it; a forked child makes another, which starts at nothing.
    """

    def __init__(self, sink: Sink, stats: ExportStats, like: Any) -> None:
        """Set up, and have the thread running.

        Args:
            sink: Where metrics are written.
            ledger: Counts what is lost.
            like: The exporter whose temporality and aggregation are in force.
        """
        super().__init__(
            preferred_temporality=_preference(like, "_preferred_temporality"),
            preferred_aggregation=_preference(like, "_preferred_aggregation"),
        )
        self._sink = sink
        self._stats = stats
        self._interval = _interval()
        self._collecting = threading.Lock()
        self._stop = threading.Event()
        self._arrived = True
        self._thread = threading.Thread(target=self._work, name="llmtrace-collect", daemon=True)
        with suppress(RuntimeError):  # the interpreter is ending: close() collects on the thread that calls it
            self._thread.start()
        sink.start()
        exit_hooks.install()

    def _work(self) -> None:
        while not self._stop.wait(self._interval):
            self._collect_now()

    def _collect_now(self) -> None:
        token = attach(set_value(SUPPRESS_KEY, True))
        try:
            with self._collecting:
                self.collect()
        except Exception:
            _errors.log_internal_error("collect metrics")
        finally:
            detach(token)

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> None:
        if metrics_data.resource_metrics:
            self._sink.write(metrics_data.resource_metrics)

    def flush(self, deadline: float) -> bool:
        """Collect, and wait until it has arrived or the deadline has come."""
        if self._stop.is_set():
            return self._arrived
        self._collect_now()
        return self._sink.flush(deadline) and not self._stats.new_losses()

    def close(self, deadline: float) -> bool:
        """Collect for the last time, send what can be sent by the deadline, and stop."""
        if self._stop.is_set():
            return self._arrived
        self._collect_now()
        self._stop.set()
        self._arrived = self._sink.close(deadline) and not self._stats.new_losses()
        return self._arrived

    def rest(self, deadline: float) -> None:
        """Collect for the last time and stop. Another reader goes on where more is measured."""
        self._collect_now()
        self._stop.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        self._sink.rest(deadline)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return self.flush(time.monotonic() + timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        self.close(time.monotonic() + timeout_millis / 1000)


def _preference(exporter: Any, name: str) -> Any:
    """Return a preference of an exporter, which has no public name; without it the SDK's defaults are in force."""
    if not hasattr(exporter, name):
        warn_once(f"llmtrace: {type(exporter).__name__} has no {name}; metrics are exported with the SDK's default")
    return getattr(exporter, name, None)


def _interval() -> float:
    try:
        seconds = float(os.environ.get("OTEL_METRIC_EXPORT_INTERVAL", "")) / 1000
    except ValueError:
        return _DEFAULT
    return min(seconds, threading.TIMEOUT_MAX) if seconds > 0 else _DEFAULT
