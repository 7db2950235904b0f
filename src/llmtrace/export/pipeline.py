"""Where spans go: the provider given, else the application's own, else one of ours."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

from .._config import ConfigError, Settings
from ..store.sent import Sent
from .batches import Batches
from .ledger import Counts
from .routes import Route, names, open_route, variable

__all__ = ["Pipeline"]

_log = logging.getLogger("llmtrace")


class Pipeline:
    """Gives every call its tracer provider, and looks after the one that is ours."""

    def __init__(self, settings: Settings, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._settings = settings
        self._given = tracer_provider
        self._lock = threading.Lock()
        self._own: trace.TracerProvider | None = None
        self._routes: list[Route] | None = None
        self._processors: list[Batches] = []
        self._declared: trace.TracerProvider | None = None
        self._closed = False
        self._stores = False
        self._told = False
        self.sent: Sent | None = None
        """What calls have sent, where spans of ours go to the local store, which keeps hashes of it."""
        if settings.fingerprints == "auto":
            self.sent = Sent(self._to_store)

    def _to_store(self) -> bool:
        return self._given is None and self._routes is not None and self._stores and _global() is None

    def provider(self) -> trace.TracerProvider:
        if self._given is not None:
            return self._given
        current = _global()
        if current is not None:
            if self._own is not None and not self._told:
                self._tell_of_the_change()
            return current
        own = self._own
        return own if own is not None else self._create()

    def _tell_of_the_change(self) -> None:
        self._told = True
        _log.info("llmtrace sends spans through the application's tracer provider from now on")

    def own(self) -> bool:
        """Whether spans leave through exporters of ours."""
        return self._given is None and self._declared is None and _global() is None

    def prepare(self) -> None:
        """Build our exporters now if they will be needed, so that a wrong variable is told at once.

        Raises:
            ConfigError: A variable has a value that means nothing.
        """
        if self._given is not None or _global() is not None:
            return
        with self._lock:
            if self._routes is None:
                self._routes = self._build()

    def where(self) -> list[str]:
        """For people: where spans go, as far as we decide it."""
        return [route.where for route in self._routes or ()]

    def counts(self) -> list[Counts]:
        """The counters of each of our routes."""
        return [route.ledger.counts() for route in self._routes or ()]

    def flush(self, timeout: float) -> bool:
        """Send what is waiting. ``True`` when all of it reached its destination in time."""
        deadline = time.monotonic() + max(0.0, timeout)
        done = self._flush_foreign(deadline)
        for processor in self._processors:
            done = processor.flush(deadline) and done
        return done

    def shutdown(self, timeout: float) -> bool:
        """Flush, and close the provider that is ours. One that is not ours is only flushed."""
        deadline = time.monotonic() + max(0.0, timeout)
        with self._lock:
            self._closed = True
        done = True
        for processor in self._processors:
            done = processor.close(deadline) and done
        return self._flush_foreign(deadline) and done

    def _flush_foreign(self, deadline: float) -> bool:
        foreign = self._given if self._given is not None else _global()
        if foreign is None:
            foreign = self._declared
        return True if foreign is None else _force_flush(foreign, deadline)

    def _create(self) -> trace.TracerProvider:
        with self._lock:
            if self._own is not None:
                return self._own
            if self._routes is None:
                try:
                    self._routes = self._build()
                except ConfigError as error:  # too late to raise at anybody
                    self._routes = []
                    _log.warning("llmtrace exports no spans: %s", error)
            if self._declared is not None:
                self._own = self._declared
                return self._own
            own = SdkTracerProvider(shutdown_on_exit=False)
            for route in self._routes if not self._closed else ():
                processor = Batches(route.sink, route.ledger)
                self._processors.append(processor)
                own.add_span_processor(processor)
                if route.announced:
                    _announce(route.where)
            self._own = own
            return own

    def _build(self) -> list[Route]:
        if variable("OTEL_SDK_DISABLED").lower() == "true":
            return []
        if file := variable("OTEL_CONFIG_FILE"):
            self._declared = _declared_provider(file)
            return []
        wanted = names(self._settings)
        self._stores = "local" in wanted
        return [open_route(name, self._settings, self.sent) for name in wanted]


def _announce(where: str) -> None:
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(f"llmtrace: writing spans to {where}", file=sys.stderr)


def _global() -> trace.TracerProvider | None:
    """The provider the application set, if it did. Asking the API's getter might set one."""
    current: trace.TracerProvider | None = getattr(trace, "_TRACER_PROVIDER", None)
    if current is None or isinstance(current, (trace.ProxyTracerProvider, trace.NoOpTracerProvider)):
        return None
    return current


def _declared_provider(file: str) -> trace.TracerProvider:
    """The provider that a declarative configuration file describes, kept to ourselves.

    Raises:
        ConfigError: The file cannot be used.
    """
    try:
        # Its public function would set the global providers, which are the application's to set.
        from opentelemetry.configuration import load_config_file
        from opentelemetry.configuration._resource import create_resource
        from opentelemetry.configuration._tracer_provider import create_tracer_provider
    except ImportError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={file!r} needs the package opentelemetry-configuration ({error})"
        ) from error
    try:
        described = load_config_file(file)
        if described.disabled:
            return trace.NoOpTracerProvider()
        resource = create_resource(described.resource)
        provider: trace.TracerProvider = create_tracer_provider(
            described.tracer_provider, resource, described.attribute_limits
        )
    except Exception as error:
        raise ConfigError(f"OTEL_CONFIG_FILE={file!r} is not accepted: {error}") from error
    return provider


def _bounded(work: Callable[[], bool], deadline: float) -> bool:
    """Run ``work`` and wait for it no longer than the deadline, whatever it thinks of timeouts."""
    answers: list[bool] = []

    def run() -> None:
        try:
            answers.append(work())
        except Exception:
            _log.debug("llmtrace could not flush", exc_info=True)

    worker = threading.Thread(target=run, name="llmtrace-flush", daemon=True)
    try:
        worker.start()
    except RuntimeError:  # the interpreter is ending and starts no more threads
        run()
    else:
        worker.join(max(0.0, deadline - time.monotonic()))
    return bool(answers and answers[0])


def _force_flush(provider: object, deadline: float) -> bool:
    force_flush = getattr(provider, "force_flush", None)
    if not callable(force_flush):
        return True

    def work() -> bool:
        left = max(0, int((deadline - time.monotonic()) * 1000))
        try:
            return force_flush(left) is not False
        except TypeError:
            return force_flush() is not False

    return _bounded(work, deadline)
