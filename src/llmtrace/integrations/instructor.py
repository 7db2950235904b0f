"""Instructor: one operation for the calls that it repeats until a response is valid."""

from __future__ import annotations

from typing import Any

from .._errors import log_internal_error
from ..context import state
from ..context.callback_run import innermost_operation
from ..context.operation import get_emitter
from ..providers._patches import Patches
from ._wrapping import TracedMethod


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``instructor.v2.core.patch``, which imports the functions by their names."""
    patches = Patches()
    patches.wrap(module, "retry_sync_v2", _EXTRACTION.call)
    patches.wrap(module, "retry_async_v2", _EXTRACTION.call_async)
    patches.when_imported("instructor.v2.core.hooks", _wrap_hooks)
    return patches


def _wrap_hooks(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "Hooks", "emit_parse_error", _record_parse_error)


def _record_parse_error(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    """Record why a response is not valid, before the next attempt."""
    try:
        operation, emitter = innermost_operation(state.current()), get_emitter()
        if emitter is not None and operation is not None and operation.client == "instructor":
            emitter.record_error(operation, args[0] if args else kwargs["error"])
    except Exception:
        log_internal_error("record an invalid response of Instructor")
    return wrapped(*args, **kwargs)


def _name(_: Any, args: tuple[Any, ...], kwargs: Any) -> object:
    """Return the name of the response model; ``None`` without one, because then nothing is validated."""
    model = args[1] if len(args) > 1 else kwargs.get("response_model")
    return getattr(model, "__name__", None)


_EXTRACTION = TracedMethod("instructor", "workflow", _name, read_result=lambda result: result)
