"""Metric reader that collects once per interval and at every flush."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import Any

from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk.metrics.export import MetricReader, MetricsData

from .. import _errors
from .._compat.opentelemetry_context import SUPPRESS_KEY
from .._compat.otlp_exporters import metric_preference
from .._process import new_thread
from .._settings.environment import variable
from .._settings.opentelemetry import usable_environment
from .._sink import Sink
from . import exit_hooks
from .stats import ExportStats

_DEFAULT_INTERVAL_MILLISECONDS = 60_000


class PeriodicReader(MetricReader):
    """A metric reader with its own thread, which writes to a sink every ``OTEL_METRIC_EXPORT_INTERVAL``.

    It belongs to the process that created it. A forked child creates its own, which counts from zero.
    """

    def __init__(self, sink: Sink, stats: ExportStats, exporter: Any) -> None:
        """Create the reader, which starts with ``start``. Temporality and aggregation of ``exporter`` apply."""
        super().__init__(
            preferred_temporality=metric_preference(exporter, "temporality"),
            preferred_aggregation=metric_preference(exporter, "aggregation"),
        )
        self._sink = sink
        self._stats = stats
        self._interval = _interval()
        self._collecting = threading.Lock()
        self._stop = threading.Event()
        self._delivered = True
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread."""
        thread = new_thread("collect", self._run)
        with suppress(RuntimeError):  # the interpreter is ending: close() collects on its caller's thread
            thread.start()
            self._thread = thread
        self._sink.start()
        exit_hooks.install()

    def _run(self) -> None:
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
        """Collect, and wait until all data has arrived. Return False if the deadline passes first."""
        if self._stop.is_set():
            return self._delivered
        self._collect_now()
        return self._sink.flush(deadline) and not self._stats.new_losses()

    def close(self, deadline: float) -> bool:
        """Collect for the last time, send until the deadline, and stop. Return True if all data has arrived."""
        if self._stop.is_set():
            return self._delivered
        self._collect_now()
        self._stop.set()
        self._delivered = self._sink.close(deadline) and not self._stats.new_losses()
        return self._delivered

    def rest(self, deadline: float) -> None:
        """Collect for the last time and stop. Later measurements need another reader."""
        self._collect_now()
        self._stop.set()
        if self._thread is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        self._sink.rest(deadline)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Call ``flush`` with a timeout in milliseconds."""
        return self.flush(time.monotonic() + timeout_millis / 1000)

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Call ``close`` with a timeout in milliseconds."""
        self.close(time.monotonic() + timeout_millis / 1000)


def _interval() -> float:
    with usable_environment():
        milliseconds = float(variable("OTEL_METRIC_EXPORT_INTERVAL") or _DEFAULT_INTERVAL_MILLISECONDS)
    return min(milliseconds / 1000, threading.TIMEOUT_MAX)
