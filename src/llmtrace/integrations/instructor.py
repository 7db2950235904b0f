"""Instructor: one operation for the calls that it repeats until a response is valid."""

from __future__ import annotations

from typing import Any

from ..providers._patches import Patches
from ._wrapping import TracedMethod


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``instructor.v2.core.patch``, which imports the functions by their names."""
    patches = Patches()
    patches.wrap(module, "retry_sync_v2", _EXTRACTION.call)
    patches.wrap(module, "retry_async_v2", _EXTRACTION.call_async)
    return patches


def _name(_: Any, args: tuple[Any, ...], kwargs: Any) -> object:
    """Return the name of the response model; ``None`` without one, because then nothing is validated."""
    model = args[1] if len(args) > 1 else kwargs.get("response_model")
    return getattr(model, "__name__", None)


_EXTRACTION = TracedMethod("instructor", "workflow", _name, read_result=lambda result: result)
