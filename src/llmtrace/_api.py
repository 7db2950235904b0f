"""``instrument()`` and its kin."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from time import monotonic, sleep
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import wrapt
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from . import _errors, _settings
from ._compat import opentelemetry_sdk  # noqa: F401 - the SDK is imported before all that needs it
from ._runtime import Providers, Runtime
from ._settings.opentelemetry import usable_environment
from .budgets.budget import Budget
from .capture import worker
from .capture.stream import end_open_streams, has_open_streams
from .export import termination
from .export.routes import Arguments
from .providers._patches import Patches
from .providers.registry import Sdk, sdks

if TYPE_CHECKING:
    from opentelemetry._logs import LoggerProvider

__all__ = ["Instrumentation", "flush", "instrument", "shutdown", "uninstrument"]

_LOOK_SECONDS = 0.01
_log = logging.getLogger("llmtrace")
_lock = threading.RLock()
_current: Instrumentation | None = None
_retired: list[Instrumentation] = []
"""Undone, but not all has arrived, or a stream that was open then will still end into the pipeline. What goes to an
application's provider is the application's to flush."""
_watched: set[str] = set()
"""Modules whose import will be hooked."""


class Instrumentation:
    """What ``instrument()`` did; leaving it as a context manager undoes it."""

    def __init__(self, settings: _settings.Settings, providers: Providers, named: Callable[[str], str]) -> None:
        self.settings = settings
        self.patched: dict[str, str] = {}
        """SDKs that are hooked, with their version."""
        self.waiting: dict[str, str] = {}
        """SDKs that will be hooked when they are imported."""
        self.skipped: dict[str, str] = {}
        """SDKs left alone, with the reason."""
        self._runtime = Runtime(settings, providers, _at_exit, named)
        self._patches: list[Patches] = []
        self._live = True

    def __enter__(self) -> Instrumentation:
        return self

    def __exit__(self, *_: object) -> None:
        if _current is self:
            uninstrument()

    def _install(self, sdks: Iterable[Sdk]) -> None:
        for sdk in sdks:
            module = sys.modules.get(sdk.module)
            if module is not None and _initializing(module):
                self.waiting[sdk.name] = "being imported"
                threading.Thread(
                    target=self._patch_after_import, args=(sdk, module), name="llmtrace-import", daemon=True
                ).start()
            elif module is not None:
                self._patch(sdk, module)
            elif _is_imported(sdk.package) and _moved(sdk):
                self._skip_moved(sdk)
            else:
                self.waiting[sdk.name] = "not imported yet"
                _watch(sdk)

    def _patch_after_import(self, sdk: Sdk, module: ModuleType) -> None:
        """Hook an SDK whose import is under way, here or in another thread, when that is done.

        The thread only watches: importing the module itself would start the import again where it has failed.
        """
        while self._live and sys.modules.get(sdk.module) is module:
            if not _initializing(module):
                _imported(sdk, module)
                return
            sleep(_LOOK_SECONDS)
        if self._live:  # that import has failed; the program may try again
            _watch(sdk)

    def _skip_moved(self, sdk: Sdk) -> None:
        self.waiting.pop(sdk.name, None)
        self._skip(sdk.name, f"this release has no module {sdk.module}: its calls are not traced")

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        _log.warning("llmtrace: %s: %s", name, reason)

    def _patch(self, sdk: Sdk, module: Any) -> None:
        try:
            patches = import_module(sdk.hook).patch(sdk, module, self._runtime.tracing)
        except Exception as error:
            self.skipped[sdk.name] = f"this release has moved the hook: {error}"
            _errors.log_internal_error(f"hook {sdk.name}")
            return
        self._patches.append(patches)
        if patches.done:
            self.patched[sdk.name] = _version(sdk.distribution)
        patches.joined = lambda: self._report(sdk, patches)
        self._report(sdk, patches)

    def _report(self, sdk: Sdk, patches: Patches) -> None:
        """Name the hooks that are not in place, or that other packages go past."""
        reasons = []
        if patches.missing:
            reasons.append(f"this release has no {', '.join(patches.missing)}")
        if patches.bypassed:
            reasons.append(
                f"another package replaced {', '.join(patches.bypassed)} before llmtrace and calls past it: "
                "these calls have no cost, no tags and no budget; call llmtrace.instrument() first"
            )
        if reasons and self.skipped.get(sdk.name) != "; ".join(reasons):
            self._skip(sdk.name, "; ".join(reasons))

    def _undo(self) -> None:
        self._live = False
        self._runtime.deactivate()
        for patches in self._patches:
            patches.undo()


def _watch(sdk: Sdk) -> None:
    """Hook an SDK when it is imported: one hook for the process, however often it is instrumented."""
    with _lock:
        for module, hook in ((sdk.module, _imported), (sdk.package, _package_imported)):
            if module and module not in _watched:
                _watched.add(module)
                wrapt.register_post_import_hook(partial(hook, sdk), module)


def _imported(sdk: Sdk, module: ModuleType) -> None:
    with _lock:
        _watched.discard(sdk.module)
        if _current is not None and sdk.name in _current.waiting:
            del _current.waiting[sdk.name]
            _current._patch(sdk, module)


def _package_imported(sdk: Sdk, _: ModuleType) -> None:
    with _lock:
        _watched.discard(sdk.package)
        if _current is not None and sdk.name in _current.waiting and _moved(sdk):
            _current._skip_moved(sdk)


def _initializing(module: ModuleType) -> bool:
    """Return True while the module is being imported."""
    return bool(getattr(module.__spec__, "_initializing", False))


def _is_imported(package: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and not _initializing(module)


def _moved(sdk: Sdk) -> bool:
    """Return whether the SDK, which is imported, has no module where the hook belongs."""
    with suppress(Exception):  # whatever the importers of the application do
        return sdk.module not in sys.modules and find_spec(sdk.module) is None
    return False


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "unknown"


def instrument(  # noqa: PLR0913 - every setting by its name
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
    strict: bool | None = None,
    prompts: str | os.PathLike[str] | None = None,
    baggage_keys: str | Iterable[str] | None = None,
    rollup: bool | None = None,
) -> Instrumentation:
    """Trace every call made through the supported clients, now and when they are imported later.

    Calling it again returns the instrumentation that is already there.

    Args:
        endpoint: Where spans go over OTLP, such as ``http://localhost:4318``. Beats ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        service_name: The name of this program. Beats ``OTEL_SERVICE_NAME``. Where the application has set a provider
            of its own, both are ignored with a warning.
        clients: Names of the clients to trace (``openai``, ``anthropic``); ``-name`` leaves one out. All by default.
        tracer_provider: Where spans go. By default the application's global provider if it set one, else OTLP if an
            endpoint is configured, else a file in the user's state folder.
        meter_provider: Where metrics go. By default the application's global provider, once it has set one.
        logger_provider: Where events go; the global one by default.
        capture_content: Whether prompts and responses are recorded: ``True``, or ``no_content``, ``span_only``,
            ``event_only``, ``span_and_event``. Off by default.
        redact: Applied to each text before it is written: ``builtin``, ``module:callable``, or a function.
        prices: Overrides of the price catalogue: the path of a TOML or JSON file, or a list of mappings.
        budgets: The path of a TOML file, or a list of ``Budget``.
        enabled: ``False`` makes everything a no-op.
        native_spans: Replace a vendor library's own span for the same call, or keep both.
        error_messages: Record messages and stack traces of exceptions, which may echo a prompt.
        content_max_bytes: Cap of one content attribute.
        content_blobs: Whether binary parts are recorded whole.
        bridges: Extra attributes for ``openinference``, ``langfuse``, ``logfire``; or ``none``.
        budget_store: ``memory``, or the URL of a Redis server.
        metrics: Which generation of metric names is recorded.
        metric_dimensions: ``feature``, ``prompt``, ``tenant`` ..., or a metadata key.
        stream_usage: Whether chat streams are asked for their usage.
        stream_usage_hosts: Hosts that ``auto`` asks too.
        estimate_usage: What to do with estimates where the provider reported no usage.
        store: Path of the local store, or ``off``.
        store_max_mb: Megabytes above which the oldest traces are removed; 0 for no limit.
        store_max_days: Days after which traces are removed; 0 for no limit.
        fingerprints: Whether the local store keeps keyed hashes of requests.
        spool: Folder of the disk buffer in front of OTLP, or ``off``.
        spool_max_mb: Megabytes that may wait there.
        flush_timeout: Seconds to wait for the exporter at exit.
        strict: Raise llmtrace's own faults instead of logging them; for tests.
        prompts: Folder of prompt files.
        baggage_keys: Tags that travel to other services in W3C baggage.
        rollup: Put the sums of the calls inside on agent and workflow spans.

    Raises:
        ConfigError: A setting, given here or in the environment, has a wrong value.
    """
    given: dict[str, Any] = dict(locals())
    arguments = Arguments(
        _settings.check_endpoint(given.pop("endpoint")), _settings.check_service_name(given.pop("service_name"))
    )
    tracer, meter, logger = (given.pop(f"{name}_provider") for name in ("tracer", "meter", "logger"))
    providers = Providers(tracer, meter, logger, arguments)
    return _instrument(given, providers)


def _instrument(given: dict[str, Any], providers: Providers) -> Instrumentation:
    global _current  # noqa: PLW0603 - one instrumentation for the process
    with _lock:
        if _current is not None:
            return _current
        if given["clients"] is not None:
            clients = given["clients"]
            given["clients"] = (clients,) if isinstance(clients, str) else tuple(clients)
        known = sdks()
        loaded = _settings.load(given, clients=[sdk.name for sdk in known])
        _settings.report_unknown(os.environ)
        with usable_environment():
            made = Instrumentation(loaded, providers, partial(_settings.display_name, arguments=given))
            off = _switched_off(loaded, given)
            if off:
                made.skipped = {sdk.name: off for sdk in known}
                return made
            made._runtime.pipeline.prepare()
        _errors.set_strict(loaded.strict)
        chosen = [sdk for sdk in known if _selected(sdk.name, loaded.clients)]
        made.skipped.update({sdk.name: "left out by the setting clients" for sdk in known if sdk not in chosen})
        made._install(chosen)
        made._runtime.activate()
        _current = made
        if loaded.handle_sigterm == "auto":
            termination.enable(_at_sigterm, loaded.flush_timeout)
        return made


def _switched_off(settings: _settings.Settings, given: Mapping[str, object]) -> str:
    """Say why nothing is traced; empty where it is."""
    if not settings.enabled:
        return "LLMTRACE_ENABLED is false"
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return "OTEL_SDK_DISABLED is true" if disabled and given.get("enabled") is None else ""


def _selected(name: str, clients: tuple[str, ...]) -> bool:
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
            termination.disable()
            _retire(_current)
            _errors.set_strict(False)
            _current = None


def _retire(undone: Instrumentation) -> None:
    parts, timeout = undone._runtime, undone.settings.flush_timeout
    flushed = worker.drain(timeout) and parts.flush(timeout)
    if not parts.pipeline.owned():
        return
    if flushed and not has_open_streams(parts.tracing):
        parts.rest(timeout)
    else:
        _retired.append(undone)


def flush(timeout: float = 5.0) -> bool:
    """Send what has ended. True when everything reached its destination within ``timeout`` seconds."""
    return _run_within(timeout, Runtime.flush)


def _run_within(timeout: float, finish: Callable[[Runtime, float], bool]) -> bool:
    deadline = monotonic() + timeout
    ended = worker.drain(timeout)
    # Every one of them, also when an earlier one has failed.
    done = [finish(one._runtime, max(0.0, deadline - monotonic())) for one in _every_instrumentation()]
    return ended and all(done)


def _every_instrumentation() -> list[Instrumentation]:
    return [*_retired, *([_current] if _current is not None else [])]


def shutdown(timeout: float = 5.0) -> bool:
    """End open streams, send everything, and close what is ours. True when all of it was sent."""
    end_open_streams()
    return _run_within(timeout, Runtime.shutdown)


def _at_sigterm(ending: bool) -> None:
    if ending:
        end_open_streams()
    flush(max((each.settings.flush_timeout for each in _every_instrumentation()), default=1.0))


def _at_exit() -> None:
    end_open_streams()
    # The first call of a short program may end only now: pricing it waits for the price table, which takes a second.
    worker.drain(max((each.settings.flush_timeout for each in _every_instrumentation()), default=1.0))
    for instrumentation in _every_instrumentation():
        instrumentation._runtime.shutdown(instrumentation.settings.flush_timeout)
