"""``instrument()`` and its kin."""

from __future__ import annotations

import atexit
import sys
import threading
from collections.abc import Callable, Iterable
from importlib import import_module, metadata
from time import monotonic
from typing import Any

import wrapt
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from . import __version__, _config, _guard
from .capture import worker
from .capture.stream import end_open_streams
from .capture.tracing import Tracing
from .clients.patches import Patches
from .clients.stream_usage import StreamUsage
from .clients.table import Sdk, sdks
from .cost import budget, tokens
from .cost.estimator import Estimator
from .cost.guard import Budgets
from .cost.price import Pricer
from .cost.stores import RedisStore
from .emit.metrics import Metrics
from .emit.spans import SpanEmitter
from .export.pipeline import Pipeline

__all__ = ["Instrumentation", "flush", "instrument", "shutdown", "uninstrument"]

_lock = threading.RLock()
_current: Instrumentation | None = None
_retired: list[Instrumentation] = []
"""Undone, but streams that were open then may still end into their pipelines."""


class _Tracers:
    """The tracer of the moment for each client."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._provider: TracerProvider | None = None
        self._tracers: dict[str, Tracer] = {}

    def __call__(self, client: str) -> Tracer:
        provider = self._pipeline.provider()
        if provider is not self._provider:
            self._provider, self._tracers = provider, {}
            # Exit handlers run last in, first out: open streams must end before this provider shuts down.
            atexit.unregister(_at_exit)
            atexit.register(_at_exit)
        tracers = self._tracers
        found = tracers.get(client)
        if found is None:
            found = tracers[client] = provider.get_tracer(f"llmtrace.{client}", __version__)
        return found


class Instrumentation:
    """What ``instrument()`` did; leaving it as a context manager undoes it."""

    def __init__(
        self, settings: _config.Settings, pipeline: Pipeline, meter_provider: MeterProvider | None = None
    ) -> None:
        self.settings = settings
        self.patched: dict[str, str] = {}
        """SDKs that are hooked, with their version."""
        self.waiting: dict[str, str] = {}
        """SDKs that will be hooked when they are imported."""
        self.skipped: dict[str, str] = {}
        """SDKs left alone, with the reason."""
        self._pipeline = pipeline
        pricer = Pricer(settings.prices)
        budgets = _budgets(settings, pricer)
        self._tracing = Tracing(
            SpanEmitter(_Tracers(pipeline), error_messages=settings.error_messages),
            pricer=pricer,
            observers=[
                budgets.settle,
                Metrics(settings.metrics, settings.metric_dimensions, meter_provider).record,
            ],
            admit=budgets.admit,
            stream_usage=None
            if settings.stream_usage == "never"
            else StreamUsage(settings.stream_usage, settings.stream_usage_hosts),
            estimator=Estimator(pricer, settings.estimate_usage)
            if settings.estimate_usage != "off" and tokens.available()
            else None,
            native_spans=settings.native_spans,
        )
        self._patches: list[Patches] = []
        self._live = True

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        if _current is self:
            uninstrument()

    def _install(self, sdks: Iterable[Sdk]) -> None:
        for sdk in sdks:
            if sdk.module in sys.modules:
                self._patch(sdk, sys.modules[sdk.module])
            else:
                self.waiting[sdk.name] = "not imported yet"
                wrapt.register_post_import_hook(self._later(sdk), sdk.module)

    def _later(self, sdk: Sdk) -> Callable[[Any], None]:
        def imported(module: Any) -> None:
            with _lock:
                if self._live:
                    self.waiting.pop(sdk.name, None)
                    self._patch(sdk, module)

        return imported

    def _patch(self, sdk: Sdk, module: Any) -> None:
        try:
            patches = import_module(sdk.hook).patch(sdk, module, self._tracing)
        except Exception as error:
            self.skipped[sdk.name] = f"this release has moved the hook: {error}"
            _guard.report(f"hook {sdk.name}")
            return
        self._patches.append(patches)
        if patches.missing:
            self.skipped[sdk.name] = f"this release has no {', '.join(patches.missing)}"
        self.patched[sdk.name] = _version(sdk.distribution)

    def _undo(self) -> None:
        self._live = False
        for patches in self._patches:
            patches.undo()


def _budgets(settings: _config.Settings, pricer: Pricer) -> Budgets:
    configured = budget.read(settings.budgets)
    if any(each.action == "block" for each in configured.values()):
        # What a call may cost is asked before the first one leaves.
        worker.start()
        worker.submit(pricer.load)
    if settings.budget_store == "memory":
        return Budgets(pricer, configured)
    try:
        return Budgets(pricer, configured, RedisStore(settings.budget_store))
    except ImportError:
        raise _config.ConfigError(
            f"budget_store={settings.budget_store!r} needs the redis client: pip install 'llmtrace-otel[redis]'"
        ) from None
    except ValueError as error:
        raise _config.ConfigError(f"budget_store={settings.budget_store!r} is not accepted: {error}") from None


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def instrument(
    *,
    clients: Iterable[str] | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    **settings: Any,
) -> Instrumentation:
    """Trace every call made through the supported clients, now and when they are imported later.

    Calling it again returns the instrumentation that is already there.

    Args:
        clients: Names of the clients to trace (``openai``, ``anthropic``); ``-name`` leaves one out. All by default.
        tracer_provider: Where spans go. By default the application's global provider if it set one, else OTLP if an
            endpoint is configured in the environment, else a file in the user's state folder.
        meter_provider: Where metrics go. By default the application's global provider, once it has set one.
        **settings: Any field of ``Settings``.

    Raises:
        ConfigError: A setting, given here or in the environment, has a wrong value.
    """
    global _current  # noqa: PLW0603 - one instrumentation for the process
    with _lock:
        if _current is not None:
            return _current
        if clients is not None:
            settings["clients"] = (clients,) if isinstance(clients, str) else tuple(clients)
        known = sdks()
        loaded = _config.load(settings, clients=[sdk.name for sdk in known])
        pipeline = Pipeline(loaded, tracer_provider)
        made = Instrumentation(loaded, pipeline, meter_provider)
        if not loaded.enabled:
            made.skipped = {sdk.name: "LLMTRACE_ENABLED is false" for sdk in known}
            return made
        pipeline.prepare()
        _guard.set_strict(loaded.strict)
        chosen = [sdk for sdk in known if _wanted(sdk.name, loaded.clients)]
        made.skipped.update({sdk.name: "left out by the setting clients" for sdk in known if sdk not in chosen})
        made._install(chosen)
        _current = made
        return made


def _wanted(name: str, clients: tuple[str, ...]) -> bool:
    if f"-{name}" in clients:
        return False
    named = [client for client in clients if not client.startswith("-")]
    return not named or name in named


def uninstrument() -> None:
    """Put back what ``instrument()`` replaced. Streams still open are traced to their end."""
    global _current  # noqa: PLW0603 - one instrumentation for the process
    with _lock:
        if _current is not None:
            _current._undo()
            _current._pipeline.flush(_current.settings.flush_timeout)
            _retired.append(_current)
            _guard.set_strict(False)
            _current = None


def flush(timeout: float = 5.0) -> bool:
    """Send what has ended. True when everything reached its destination within ``timeout`` seconds."""
    return _drained(timeout, Pipeline.flush)


def _drained(timeout: float, finish: Callable[[Pipeline, float], bool]) -> bool:
    deadline = monotonic() + timeout
    ended = worker.drain(timeout)
    # Every one of them, also when an earlier one has failed.
    done = [finish(one._pipeline, max(0.0, deadline - monotonic())) for one in _all()]
    return ended and all(done)


def _all() -> list[Instrumentation]:
    return [*_retired, *([_current] if _current is not None else [])]


def shutdown(timeout: float = 5.0) -> bool:
    """End open streams, send everything, and close what is ours. True when all of it was sent."""
    end_open_streams()
    return _drained(timeout, Pipeline.shutdown)


def _at_exit() -> None:
    end_open_streams()
    worker.drain(1.0)
    for instrumentation in _all():
        instrumentation._pipeline.shutdown(instrumentation.settings.flush_timeout)
