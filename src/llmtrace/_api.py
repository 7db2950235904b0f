"""Public functions ``instrument()``, ``uninstrument()``, ``flush()`` and ``shutdown()``."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from time import monotonic, sleep
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import wrapt
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from . import _errors, _settings
from ._compat import opentelemetry_sdk  # noqa: F401 - import the SDK before every module that needs it
from ._compat.standard_library import is_initializing
from ._process import new_thread
from ._runtime import Providers, Runtime
from ._settings.environment import variable, variables
from ._settings.opentelemetry import usable_environment
from .budgets.budget import Budget
from .capture import worker
from .capture.stream import end_open_streams, has_open_streams
from .export import termination
from .export.routes import Arguments
from .integrations.contract import Integration
from .integrations.registry import INTEGRATIONS
from .providers import registry
from .providers._patches import Patches
from .providers.contract import Provider
from .telemetry import redact as redaction

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

_Client = Provider | Integration

_POLL_SECONDS = 0.01
_EXPORT_SECONDS = 2.0
"""Seconds before the end of a shutdown after which calls no longer wait for their prices and a redactor."""
_log = logging.getLogger("llmtrace")
_lock = threading.RLock()
_current: Instrumentation | None = None
_retired: list[Instrumentation] = []
"""Removed instrumentations with unsent data or open streams. Only those with providers of our own are listed: an
application flushes its own providers."""
_watched: set[str] = set()
"""Names of modules that have an import hook."""


class Instrumentation:
    """Result of ``instrument()``. As a context manager, it uninstruments on exit."""

    def __init__(self, settings: _settings.Settings, providers: Providers, display_name: Callable[[str], str]) -> None:
        self.settings = settings
        self.patched: dict[str, str] = {}
        """Hooked SDKs, with their version."""
        self.waiting: dict[str, str] = {}
        """SDKs that are hooked when they are imported, with the reason for waiting."""
        self.skipped: dict[str, str] = {}
        """SDKs that are not hooked, with the reason."""
        self._runtime = Runtime(settings, providers, _at_exit, display_name)
        self._patches: list[Patches] = []
        self._live = True

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        if _current is self:
            uninstrument()

    def _install(self, providers: Iterable[_Client]) -> None:
        for provider in providers:
            module = sys.modules.get(provider.module)
            if module is not None and is_initializing(module):
                self.waiting[provider.name] = "being imported"
                new_thread("import", self._patch_after_import, provider, module).start()
            elif module is not None:
                self._patch(provider, module)
            elif _is_imported(provider.package) and _moved(provider):
                self._skip_moved(provider)
            else:
                self.waiting[provider.name] = "not imported yet"
                _watch(provider)

    def _patch_after_import(self, provider: _Client, module: ModuleType) -> None:
        """Wait until the running import of an SDK is done, in this or another thread, then hook it.

        Poll instead of importing the module, which would repeat an import that failed.
        """
        while self._live and sys.modules.get(provider.module) is module:
            if not is_initializing(module):
                _imported(provider, module)
                return
            sleep(_POLL_SECONDS)
        if self._live:  # the import failed; the program may import it again
            _watch(provider)

    def _skip_moved(self, provider: _Client) -> None:
        self.waiting.pop(provider.name, None)
        self._skip(provider.name, f"this release has no module {provider.module}: its calls are not traced")

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        _log.warning("llmtrace: %s: %s", name, reason)

    def _patch(self, provider: _Client, module: Any) -> None:
        try:
            patches = provider.install(module, self._runtime.services)
        except Exception as error:
            self.skipped[provider.name] = f"this release has moved the hook: {error}"
            _errors.log_internal_error(f"hook {provider.name}")
            return
        self._patches.append(patches)
        patches.joined = lambda: self._report(provider, patches)
        self._report(provider, patches)

    def _report(self, provider: _Client, patches: Patches) -> None:
        """Report hooks that are in place, those that are not, and those that another package bypasses."""
        if patches.done and provider.name not in self.patched:
            self.patched[provider.name] = version_of(provider.distribution)
        reasons = []
        if patches.missing:
            reasons.append(f"this release has no {', '.join(patches.missing)}")
        if patches.bypassed:
            reasons.append(
                f"another package replaced {', '.join(patches.bypassed)} before llmtrace and calls past it: "
                "these calls have no cost, no tags and no budget; call llmtrace.instrument() first"
            )
        if reasons and self.skipped.get(provider.name) != "; ".join(reasons):
            self._skip(provider.name, "; ".join(reasons))

    def _undo(self) -> None:
        self._live = False
        self._runtime.deactivate()
        for patches in self._patches:
            patches.undo()


def _watch(provider: _Client) -> None:
    """Register the import hooks of an SDK, each once per process."""
    with _lock:
        for module, hook in ((provider.module, _imported), (provider.package, _package_imported)):
            if module and module not in _watched:
                _watched.add(module)
                wrapt.register_post_import_hook(partial(hook, provider), module)


def _imported(provider: _Client, module: ModuleType) -> None:
    with _lock:
        _watched.discard(provider.module)
        if _current is not None and provider.name in _current.waiting:
            del _current.waiting[provider.name]
            _current._patch(provider, module)


def _package_imported(provider: _Client, _: ModuleType) -> None:
    with _lock:
        _watched.discard(provider.package)
        if _current is not None and provider.name in _current.waiting and _moved(provider):
            _current._skip_moved(provider)


def _is_imported(package: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and not is_initializing(module)


def _moved(provider: _Client) -> bool:
    """Return True if an imported SDK lacks the module that is to be hooked."""
    with suppress(Exception):  # import hooks of the application may raise
        return provider.module not in sys.modules and find_spec(provider.module) is None
    return False


def version_of(distribution: str, absent: str = "unknown") -> str:
    """Return the version of an installed distribution, else ``absent``."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return absent


def instrument(  # noqa: PLR0913 - one argument per setting
    *,
    endpoint: str | None = None,
    service_name: str | None = None,
    clients: str | Iterable[str] | None = None,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    capture_content: bool | str | None = None,
    redact: Callable[[str], str] | str | None = None,
    prices: str | os.PathLike[str] | Iterable[Mapping[str, object]] | None = None,
    budgets: str | os.PathLike[str] | Iterable[Budget | Mapping[str, object]] | None = None,
    enabled: bool | None = None,
    native_spans: Literal["replace", "keep"] | None = None,
    error_messages: bool | None = None,
    content_max_bytes: int | None = None,
    content_blobs: Literal["placeholder", "inline"] | None = None,
    bridges: str | Sequence[str] | None = None,
    budget_store: str | None = None,
    cost_attributes: Literal["off", "proposed"] | None = None,
    metrics: Literal["both", "registry", "legacy", "off"] | None = None,
    metric_dimensions: str | Iterable[str] | None = None,
    stream_usage: Literal["never", "auto", "always"] | None = None,
    stream_usage_hosts: str | Iterable[str] | None = None,
    estimate_usage: Literal["separate", "usage", "off"] | None = None,
    store: str | os.PathLike[str] | None = None,
    store_max_mb: float | None = None,
    store_max_days: float | None = None,
    fingerprints: Literal["auto", "off"] | None = None,
    spool: str | os.PathLike[str] | None = None,
    spool_max_mb: int | None = None,
    flush_timeout: float | None = None,
    handle_sigterm: Literal["auto", "off"] | None = None,
    strict: bool | None = None,
    prompts: str | os.PathLike[str] | None = None,
    baggage_keys: str | Iterable[str] | None = None,
    rollup: bool | None = None,
) -> Instrumentation:
    """Trace every call of the supported client libraries, including those imported later.

    A second call returns the existing instrumentation and ignores its arguments.

    Args:
        endpoint: OTLP endpoint for spans, such as ``http://localhost:4318``. Beats ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        service_name: Name of this program. Beats ``OTEL_SERVICE_NAME``. If the application has set its own provider,
            ``endpoint`` and ``service_name`` are ignored with a warning.
        clients: Names of the clients to trace (``openai``, ``anthropic``); ``-name`` leaves one out. All by default.
        tracer_provider: Provider for spans. By default the application's global provider if it set one, else OTLP if an
            endpoint is configured, else a file in the user's state folder.
        meter_provider: Provider for metrics. By default the application's global provider, once it has set one.
        logger_provider: Provider for events. By default the global provider.
        capture_content: Recording of prompts and responses: ``True``, or ``no_content``, ``span_only``,
            ``event_only``, ``span_and_event``. Off by default.
        redact: Redaction of each recorded text: ``builtin``, ``module:callable``, or a function.
        prices: Overrides of the price catalog: the path of a TOML or JSON file, or a list of mappings.
        budgets: The path of a TOML file, or a list of ``Budget``.
        enabled: ``False`` makes everything a no-op.
        native_spans: ``replace`` a vendor library's own span for the same call, or ``keep`` both and its usage on it.
        error_messages: Record messages and stack traces of exceptions, which may echo a prompt.
        content_max_bytes: Maximum bytes of one content attribute.
        content_blobs: ``inline`` records complete binary parts, ``placeholder`` their size and hash.
        bridges: Extra attributes for backends: ``openinference``, ``langfuse``, ``logfire``; or ``none``.
        budget_store: ``memory``, or the URL of a Redis server.
        cost_attributes: ``proposed`` writes ``gen_ai.usage.cost.amount``, ``.currency`` and ``.source``, as proposed
            for the conventions, in place of ``gen_ai.usage.cost``.
        metrics: Metric names: ``registry`` of the conventions, ``legacy`` of those before, ``both``, or ``off``.
        metric_dimensions: Attributes of metrics: ``feature``, ``prompt``, ``tenant`` ..., or a metadata key.
        stream_usage: Add ``stream_options.include_usage`` to chat streams: ``auto`` for OpenAI's host, or ``always``.
        stream_usage_hosts: Further hosts for which ``auto`` adds it.
        estimate_usage: Record estimates of unreported usage under ``separate`` names, as ``usage``, or ``off``.
        store: Path of the local store (JSON lines if it ends in ``.jsonl``), or ``off``.
        store_max_mb: Megabytes above which the oldest traces are removed; 0 for no limit.
        store_max_days: Days after which traces are removed; 0 for no limit.
        fingerprints: ``auto`` keeps keyed hashes of requests in the local store, ``off`` does not.
        spool: Folder of the disk buffer in front of OTLP, or ``off``.
        spool_max_mb: Maximum megabytes in that folder; the oldest data is dropped beyond it, and counted.
        flush_timeout: Seconds to wait for the exporter at exit.
        handle_sigterm: Flush on SIGTERM before the handler in force runs.
        strict: Raise internal errors of llmtrace instead of logging them; for tests.
        prompts: Folder of prompt files.
        baggage_keys: Tags that travel to other services in W3C baggage, and never to a vendor.
        rollup: Record the sums of the inner calls on agent and workflow spans.

    Returns:
        The instrumentation, with the hooked, waiting and skipped clients.

    Raises:
        ConfigError: An argument or an environment variable has an invalid value.
    """
    settings: dict[str, Any] = dict(locals())
    arguments = Arguments(*_settings.check_arguments(settings.pop("endpoint"), settings.pop("service_name")))
    tracer, meter, logger = (settings.pop(f"{name}_provider") for name in ("tracer", "meter", "logger"))
    providers = Providers(tracer, meter, logger, arguments)
    return _instrument(settings, providers)


def _instrument(passed: dict[str, Any], providers: Providers) -> Instrumentation:
    global _current  # noqa: PLW0603 - one instrumentation for the process
    with _lock:
        if _current is not None:
            return _current
        if passed["clients"] is not None:
            clients = passed["clients"]
            passed["clients"] = (clients,) if isinstance(clients, str) else tuple(clients)
        supported: list[_Client] = [*registry.providers(), *INTEGRATIONS]
        settings = _settings.load(passed, clients=[provider.name for provider in supported])
        _settings.report_unknown(variables())
        with usable_environment():
            instrumentation = Instrumentation(settings, providers, partial(_settings.display_name, arguments=passed))
            reason = _disabled_reason(settings, passed)
            if reason:
                instrumentation.skipped = {provider.name: reason for provider in supported}
                return instrumentation
            instrumentation._runtime.pipeline.prepare()
        _errors.set_strict(settings.strict)
        selected = [provider for provider in supported if _selected(provider.name, settings.clients)]
        instrumentation.skipped.update(
            {provider.name: "left out by the setting clients" for provider in supported if provider not in selected}
        )
        instrumentation._install(selected)
        instrumentation._runtime.activate()
        _current = instrumentation
        if settings.handle_sigterm == "auto":
            termination.enable(_at_sigterm, settings.flush_timeout)
        return instrumentation


def _disabled_reason(settings: _settings.Settings, passed: Mapping[str, object]) -> str:
    """Return the reason for tracing nothing, or an empty string if tracing is enabled."""
    if not settings.enabled:
        return "LLMTRACE_ENABLED is false"
    disabled = variable("OTEL_SDK_DISABLED").lower() == "true"
    return "OTEL_SDK_DISABLED is true" if disabled and passed.get("enabled") is None else ""


def _selected(name: str, clients: tuple[str, ...]) -> bool:
    if f"-{name}" in clients:
        return False
    included = [client for client in clients if not client.startswith("-")]
    return not included or name in included


def uninstrument() -> None:
    """Restore the original functions of the client libraries. Open streams are traced to their end."""
    global _current  # noqa: PLW0603 - one instrumentation for the process
    with _lock:
        if _current is not None:
            _current._undo()
            termination.disable()
            _retire(_current)
            _errors.set_strict(False)
            _current = None


def _retire(removed: Instrumentation) -> None:
    runtime, timeout = removed._runtime, removed.settings.flush_timeout
    flushed = worker.drain(timeout) and runtime.flush(timeout)
    if not runtime.pipeline.owned():
        return
    if flushed and not has_open_streams(runtime.services):
        runtime.pipeline.rest(timeout)
    else:
        _retired.append(removed)


def flush(timeout: float = 5.0) -> bool:
    """Send the data of all finished calls.

    Args:
        timeout: Seconds to wait.

    Returns:
        True if everything reached its destination in time.
    """
    deadline = monotonic() + timeout
    drained = worker.drain(timeout)
    return _run_until(deadline, Runtime.flush) and drained


def _run_until(deadline: float, action: Callable[[Runtime, float], bool]) -> bool:
    # A list, not a generator: run all of them, even if an earlier one fails.
    return all([action(item._runtime, max(0.0, deadline - monotonic())) for item in _every_instrumentation()])


def _every_instrumentation() -> list[Instrumentation]:
    return [*_retired, *([_current] if _current is not None else [])]


def shutdown(timeout: float = 5.0) -> bool:
    """End open streams, send all data, and close the exporters and files of llmtrace.

    The last two seconds, or the second half of a shorter timeout, are for the export: a call whose price is not known
    by then is sent without a cost.

    Args:
        timeout: Seconds to wait.

    Returns:
        True if everything reached its destination in time.
    """
    deadline = monotonic() + timeout
    priced = _end_calls(timeout)
    return _run_until(deadline, Runtime.shutdown) and priced


def _end_calls(timeout: float) -> bool:
    """End open streams, and the calls that wait for prices or for a redactor. Return True if all are complete.

    Loading the prices takes a second on a busy machine, and a redactor of the application may be slow. Leave time for
    the export: a span without a cost, and with its texts replaced, is better than none.
    """
    deadline, reserve = monotonic() + timeout, min(_EXPORT_SECONDS, timeout / 2)
    open_streams = end_open_streams(deadline - reserve)
    if worker.drain(max(0.0, deadline - reserve - monotonic())) and not open_streams:
        return True
    # A redactor that is being called cannot be stopped, and may use up the time of all other calls.
    last = max(deadline - reserve / 4, monotonic() + reserve / 4)
    with redaction.replacing_all():
        waiting = end_open_streams(last) + worker.run_waiting(last)
        worker.drain(max(0.0, last - monotonic()))  # the call that the worker is busy with
    if waiting:
        _log.warning(
            "llmtrace lost calls that were still being recorded when the time to shut down was over (%d tasks waited); "
            "raise LLMTRACE_FLUSH_TIMEOUT or the timeout of shutdown(), or use a faster redact function",
            waiting,
        )
    return False


def _at_sigterm(process_ends: bool) -> None:
    """Flush on SIGTERM. ``export/termination.py`` installs the handler."""
    deadline = monotonic() + _flush_timeout()
    if process_ends:
        _end_calls(deadline - monotonic())
    flush(max(0.0, deadline - monotonic()))


def _at_exit() -> None:
    """Flush and close everything when the interpreter exits. ``export/exit_hooks.py`` registers this function."""
    _end_calls(_flush_timeout())
    for instrumentation in _every_instrumentation():
        instrumentation._runtime.shutdown(instrumentation.settings.flush_timeout)


def _flush_timeout() -> float:
    return max((item.settings.flush_timeout for item in _every_instrumentation()), default=1.0)
