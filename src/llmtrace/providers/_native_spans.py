"""Suppression of the spans that a client library opens itself, or their use in place of ours for the usage."""

from __future__ import annotations

from typing import Any

from .._errors import attempt, log_internal_error
from ..capture.services import CallServices
from . import _hooks
from ._patches import Patches
from .contract import NativeSpans, Provider


def hook_native_spans(provider: Provider, services: CallServices, patches: Patches) -> None:
    """Install the hook on the function with which the library opens its spans, when its module is imported."""
    native = provider.native_spans
    if native is None:
        return
    wrapper = _skipping(native) if services.native_spans == "replace" else _keeping(native)
    owner, _, function = native.function.rpartition(".")

    def hook(module: Any, part: Patches) -> None:
        target = getattr(module, owner, None) if owner else module
        if function in vars(target or object):
            part.wrap(target, function, wrapper)

    patches.when_imported(native.module or provider.module, hook)


def _skipping(native: NativeSpans) -> Any:
    def skip(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        if _hooks.current_call() is not None:
            try:
                return native.skip(*args, **kwargs)
            except Exception:
                log_internal_error("skip a library's own span")
        return wrapped(*args, **kwargs)

    return skip


def _keeping(native: NativeSpans) -> Any:
    def is_recording(result: Any) -> bool:
        span = native.span(result)
        return span is not None and span.is_recording()

    def keep(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Keep the library's own span. If that span is recording, it carries the usage."""
        result = wrapped(*args, **kwargs)
        call = _hooks.current_call()
        if call is not None and result is not None and attempt("find a library's own span", is_recording, result):
            call.usage_on_other_span = True
        return result

    return keep
