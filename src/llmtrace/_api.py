"""``instrument()`` and its kin."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from time import monotonic
from typing import Any

import wrapt
from opentelemetry._logs import LoggerProvider
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

from . import _config, _guard
from ._parts import Parts, Providers
from .capture import worker
from .capture.stream import end_open_streams
from .clients.patches import Patches
from .clients.table import Sdk, sdks

__all__ = ["Instrumentation", "flush", "instrument", "shutdown", "uninstrument"]

_log = logging.getLogger("llmtrace")
_lock = threading.RLock()
_current: Instrumentation | None = None
_retired: list[Instrumentation] = []
"""Undone, but streams that were open then may still end into their pipelines. What goes to an application's provider
is the application's to flush."""


class Instrumentation:
    """What ``instrument()`` did; leaving it as a context manager undoes it."""

    def __init__(self, settings: _config.Settings, providers: Providers) -> None:
        self.settings = settings
        self.patched: dict[str, str] = {}
        """SDKs that are hooked, with their version."""
        self.waiting: dict[str, str] = {}
        """SDKs that will be hooked when they are imported."""
        self.skipped: dict[str, str] = {}
        """SDKs left alone, with the reason."""
        self._parts = Parts(settings, providers, _at_exit)
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
            if module is not None and getattr(module.__spec__, "_initializing", False):
                self.waiting[sdk.name] = "being imported"
                threading.Thread(target=self._await, args=(sdk,), name="llmtrace-import", daemon=True).start()
            elif module is not None:
                self._patch(sdk, module)
            elif _imported(sdk.package) and _moved(sdk):
                self._skip_moved(sdk)
            else:
                self.waiting[sdk.name] = "not imported yet"
                wrapt.register_post_import_hook(self._later(sdk), sdk.module)
                if sdk.package:
                    wrapt.register_post_import_hook(self._check_later(sdk), sdk.package)

    def _await(self, sdk: Sdk) -> None:
        """Hook an SDK whose import is under way, here or in another thread, when that is done."""
        with suppress(Exception):  # the program's own import says what is wrong
            self._later(sdk)(import_module(sdk.module))

    def _later(self, sdk: Sdk) -> Callable[[Any], None]:
        def imported(module: Any) -> None:
            with _lock:
                if self._live:
                    self.waiting.pop(sdk.name, None)
                    self._patch(sdk, module)

        return imported

    def _check_later(self, sdk: Sdk) -> Callable[[Any], None]:
        def imported(_: Any) -> None:
            with _lock:
                if self._live and sdk.name in self.waiting and _moved(sdk):
                    self._skip_moved(sdk)

        return imported

    def _skip_moved(self, sdk: Sdk) -> None:
        self.waiting.pop(sdk.name, None)
        self._skip(sdk.name, f"this release has no module {sdk.module}: its calls are not traced")

    def _skip(self, name: str, reason: str) -> None:
        self.skipped[name] = reason
        _log.warning("llmtrace: %s: %s", name, reason)

    def _patch(self, sdk: Sdk, module: Any) -> None:
        try:
            patches = import_module(sdk.hook).patch(sdk, module, self._parts.tracing)
        except Exception as error:
            self.skipped[sdk.name] = f"this release has moved the hook: {error}"
            _guard.report(f"hook {sdk.name}")
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
        self._parts.unseen()
        for patches in self._patches:
            patches.undo()


def _imported(package: str) -> bool:
    module = sys.modules.get(package)
    return module is not None and not getattr(module.__spec__, "_initializing", False)


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


def instrument(
    *,
    clients: Iterable[str] | None = None,
    tracer_provider: TracerProvider | None = None,
    logger_provider: LoggerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_content: bool | str | None = None,
    redact: Callable[[str], str] | str | None = None,
    **settings: Any,
) -> Instrumentation:
    """Trace every call made through the supported clients, now and when they are imported later.

    Calling it again returns the instrumentation that is already there.

    Args:
        clients: Names of the clients to trace (``openai``, ``anthropic``); ``-name`` leaves one out. All by default.
        tracer_provider: Where spans go. By default the application's global provider if it set one, else OTLP if an
            endpoint is configured in the environment, else a file in the user's state folder.
        logger_provider: Where events go; the global one by default.
        meter_provider: Where metrics go. By default the application's global provider, once it has set one.
        capture_content: Whether what is said is written: ``True``, or ``no_content``, ``span_only``, ``event_only``,
            ``span_and_event``. Off by default.
        redact: Applied to each text before it is written: ``builtin``, ``module:callable``, or a function.
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
        settings |= {"capture_content": capture_content, "redact": redact}
        loaded = _config.load(settings, clients=[sdk.name for sdk in known])
        made = Instrumentation(loaded, Providers(tracer_provider, meter_provider, logger_provider))
        if not loaded.enabled:
            made.skipped = {sdk.name: "LLMTRACE_ENABLED is false" for sdk in known}
            return made
        made._parts.pipeline.prepare()
        _guard.set_strict(loaded.strict)
        chosen = [sdk for sdk in known if _wanted(sdk.name, loaded.clients)]
        made.skipped.update({sdk.name: "left out by the setting clients" for sdk in known if sdk not in chosen})
        made._install(chosen)
        made._parts.seen()
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
            _current._parts.flush(_current.settings.flush_timeout)
            if _current._parts.pipeline.owned():
                _retired.append(_current)
            _guard.set_strict(False)
            _current = None


def flush(timeout: float = 5.0) -> bool:
    """Send what has ended. True when everything reached its destination within ``timeout`` seconds."""
    return _drained(timeout, Parts.flush)


def _drained(timeout: float, finish: Callable[[Parts, float], bool]) -> bool:
    deadline = monotonic() + timeout
    ended = worker.drain(timeout)
    # Every one of them, also when an earlier one has failed.
    done = [finish(one._parts, max(0.0, deadline - monotonic())) for one in _all()]
    return ended and all(done)


def _all() -> list[Instrumentation]:
    return [*_retired, *([_current] if _current is not None else [])]


def shutdown(timeout: float = 5.0) -> bool:
    """End open streams, send everything, and close what is ours. True when all of it was sent."""
    end_open_streams()
    return _drained(timeout, Parts.shutdown)


def _at_exit() -> None:
    end_open_streams()
    # The first call of a short program may end only now: pricing it waits for the price table, which takes a second.
    worker.drain(max((each.settings.flush_timeout for each in _all()), default=1.0))
    for instrumentation in _all():
        instrumentation._parts.shutdown(instrumentation.settings.flush_timeout)
