"""Provider of one signal: the explicit one, or the application's own, or one of ours, created on first use."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry.sdk.resources import Resource

from .. import __version__, _errors
from .._compat.global_providers import provider_finder
from .._process import after_fork, is_gevent_patched, new_thread, warn_once
from .._settings import ConfigError
from .._settings.environment import variable
from .._settings.opentelemetry import usable_environment
from .batch import BatchLimits, BatchProcessor, SpanBatchProcessor
from .routes import LOCAL, NO_ARGUMENTS, Route, Routes
from .signals import LOGS, METRICS, TRACES, Signal
from .stats import Counts

if TYPE_CHECKING:
    from .periodic_reader import PeriodicReader

SignalWriter: TypeAlias = "BatchProcessor | PeriodicReader"
"""A processor or reader behind one of our providers."""

_log = logging.getLogger("llmtrace")


class SignalProvider:
    """The provider of one signal, and the exporters behind it if they are ours."""

    def __init__(
        self,
        signal: Signal,
        routes: Routes,
        explicit_provider: Any,
        load_declared: Callable[[], Mapping[Signal, Any] | None],
    ) -> None:
        self.signal = signal
        self._route_factory = routes
        self._explicit_provider = explicit_provider
        self._load_declared = load_declared
        self._declared: Any = None
        """The provider of a declarative configuration file, once that is read."""
        self._arguments = routes.arguments
        self.stores: bool = False
        """True if the local store is one of the routes."""
        self._find_global = provider_finder(signal.name)
        self._routes: list[Route] | None = None
        self._closed = False
        self._announced = False
        self._patched = is_gevent_patched()
        self._renew()
        if signal is METRICS:
            after_fork(self._after_fork)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._own: Any = None
        self._created = False
        self._writers: list[SignalWriter] = []

    def _after_fork(self) -> None:
        """Count from zero in a forked child, with a provider of its own: the parent exports its counts."""
        if self._created:
            self._renew()
            for route in self._routes or ():
                route.stats.after_fork()
                route.sink.after_fork()

    def provider(self) -> Any:
        """Return the current provider; ``None`` for metrics and logs without a destination."""
        if self._explicit_provider is not None:
            if self._arguments is not NO_ARGUMENTS:
                self._warn_ignored("instrument() was given a provider")
            return self._explicit_provider
        current = self._application()
        if current is not None:
            if self._arguments is not NO_ARGUMENTS:
                self._warn_ignored("the application has set a provider of its own")
            if self._own is not None and not self._announced:
                self._announced = True
                _log.info("llmtrace sends %s through the application's provider from now on", self.signal.unit)
            return current
        return self._own if self._created else self._create()

    def _warn_ignored(self, reason: str) -> None:
        if self.signal is not TRACES:
            return
        ignored = str(self._arguments)
        self._arguments = NO_ARGUMENTS
        if ignored:
            warn_once(
                f"llmtrace ignores {ignored} of instrument(): {reason}, which decides the destination and the resource"
            )

    def _application(self) -> Any:
        current = self._find_global()
        return None if current is None or _is_noop(type(current)) else current

    def own(self) -> bool:
        """Return True if this signal is exported by our own exporters."""
        return self._explicit_provider is None and self._declared is None and self._application() is None

    def writes(self) -> bool:
        """Return True if our own exporters are running."""
        return bool(self._writers)

    def prepare(self) -> None:
        """Build our exporters now if they will be needed, so that a wrong variable is reported at once."""
        if self._explicit_provider is not None or self._application() is not None:
            self.provider()
            return
        with self._lock:
            if self._routes is None:
                self._routes = self._build()

    def counts(self) -> list[Counts]:
        """Return the counters of each of our routes."""
        return [route.stats.counts() for route in self._routes or ()]

    def flush(self, deadline: float) -> bool:
        """Send all queued items, through our own provider or another one."""
        complete = self._flush_foreign(deadline)
        for writer in self._writers:
            complete = writer.flush(deadline) and complete
        return complete

    def close(self, deadline: float) -> bool:
        """Flush, and close our own exporters."""
        with self._lock:
            idle = [] if self._created or self._closed else self._routes or []
            self._closed = True
        complete = True
        for route in idle:  # no items yet, but perhaps the spool of a dead process
            complete = route.sink.close(deadline) and complete
        for writer in self._writers:
            complete = writer.close(deadline) and complete
        return self._flush_foreign(deadline) and complete

    def rest(self, deadline: float) -> None:
        """Stop the threads and close the files of our exporters until they are needed again."""
        for writer in self._writers:
            writer.rest(deadline)
        if self.signal is METRICS:  # a reader cannot be started again
            with self._lock:
                self._own, self._created, self._writers = None, False, []

    def _flush_foreign(self, deadline: float) -> bool:
        for foreign in (self._explicit_provider, self._application(), self._declared):
            if foreign is not None:
                return _force_flush(foreign, deadline)
        return True

    def _build(self) -> list[Route]:
        if variable("OTEL_SDK_DISABLED").lower() == "true":
            return []
        try:
            if (declared := self._load_declared()) is not None:
                self._declared = declared.get(self.signal)
                self._warn_ignored("OTEL_CONFIG_FILE describes the provider")
                return []
        except ConfigError as error:
            warn_once(f"llmtrace goes on without OTEL_CONFIG_FILE: {error}")
        routes = self._route_factory.open_all(self.signal)
        self.stores = any(name == LOCAL for name, _ in routes)
        return [route for _, route in routes]

    def _create(self) -> Any:
        if self._patched != is_gevent_patched():
            self._patched = True
            self._lock = threading.Lock()
        with self._lock:
            if self._created:
                return self._own
            if self._routes is None:
                self._routes = self._build()
            self._own = self._declared
            if self._own is None and (self._routes or self.signal is TRACES):
                self._own, self._writers = self._make_provider(() if self._closed else self._routes)
                for route in self._routes:
                    if route.announced:
                        _errors.announce(f"writing spans to {route.where}")
            self._created = True
            own, writers = self._own, self._writers
        # Start threads without the lock: this waits for the new thread, on which a finalizer may need a provider.
        for writer in writers:
            writer.start()
        return own

    def _make_provider(self, routes: Sequence[Route]) -> tuple[Any, list[SignalWriter]]:
        with usable_environment():
            try:
                return _MAKERS[self.signal](routes, _resource(self._arguments.service_name))
            except (ImportError, AttributeError) as error:
                if self.signal is TRACES:
                    raise
                warn_once(f"llmtrace exports no {self.signal.unit}: this release of OpenTelemetry differs ({error})")
                return None, []


_NOOP_PROVIDERS = frozenset(
    {
        "NoOpLoggerProvider",
        "NoOpMeterProvider",
        "NoOpTracerProvider",
        "ProxyLoggerProvider",
        "ProxyTracerProvider",
        "_ProxyMeterProvider",
    }
)
"""Class names of OpenTelemetry's providers that record nothing."""


def _is_noop(kind: type) -> bool:
    # Check the module too: Logfire's provider has the same class name but records.
    return kind.__name__ in _NOOP_PROVIDERS and kind.__module__.startswith("opentelemetry.")


def _resource(service_name: str | None) -> Resource:
    """Return the resource of this program. It names llmtrace, because llmtrace configures the SDK here."""
    attributes = {"telemetry.distro.name": "llmtrace", "telemetry.distro.version": __version__}
    if service_name is not None:
        attributes["service.name"] = service_name
    return Resource.create(attributes)


def _tracers(routes: Sequence[Route], resource: Resource) -> tuple[Any, list[SignalWriter]]:
    from opentelemetry.sdk.trace import TracerProvider

    from .random_ids import PrivateIdGenerator

    provider = TracerProvider(shutdown_on_exit=False, resource=resource, id_generator=PrivateIdGenerator())
    processors = [SpanBatchProcessor(route.sink, route.stats) for route in routes]
    for processor in processors:
        provider.add_span_processor(processor)
    return provider, [*processors]


def _meters(routes: Sequence[Route], resource: Resource) -> tuple[Any, list[SignalWriter]]:
    from opentelemetry.sdk.metrics import MeterProvider

    from .periodic_reader import PeriodicReader

    readers = [PeriodicReader(route.sink, route.stats, route.metric_exporter) for route in routes]
    return MeterProvider(readers, shutdown_on_exit=False, resource=resource), [*readers]


def _loggers(routes: Sequence[Route], resource: Resource) -> tuple[Any, list[SignalWriter]]:
    from opentelemetry.sdk._logs import LoggerProvider

    from .log_batch import LogBatchProcessor

    provider = LoggerProvider(shutdown_on_exit=False, resource=resource)
    processors: list[BatchProcessor] = []
    for route in routes:
        processor = LogBatchProcessor(route.sink, route.stats, BatchLimits("BLRP"))
        provider.add_log_record_processor(processor)
        processors.append(processor)
    return provider, [*processors]


_MAKERS: dict[Signal, Callable[[Sequence[Route], Resource], tuple[Any, list[SignalWriter]]]] = {
    TRACES: _tracers,
    METRICS: _meters,
    LOGS: _loggers,
}


def _force_flush(provider: object, deadline: float) -> bool:
    """Flush a provider on a thread and wait until the deadline, in case it ignores its timeout."""
    force_flush = getattr(provider, "force_flush", None)
    if not callable(force_flush):
        return True
    results: list[bool] = []

    def run() -> None:
        remaining_ms = max(0, int((deadline - time.monotonic()) * 1000))
        try:
            with suppress(TypeError):  # it takes no timeout
                results.append(force_flush(remaining_ms) is not False)
                return
            results.append(force_flush() is not False)
        except Exception:
            _log.debug("llmtrace could not flush", exc_info=True)

    thread = new_thread("flush", run)
    try:
        thread.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    else:
        thread.join(max(0.0, deadline - time.monotonic()))
    return bool(results and results[0])
