"""Lazy streams, which send their request when they are read, and the context they were created in."""

from __future__ import annotations

import sys
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .._errors import attempt, log_internal_error
from ..context import state as context_state
from ._patches import Patches


@dataclass(frozen=True, slots=True)
class Origin:
    """Context that was current when a lazy stream was created."""

    context: Any
    stream: weakref.ref[Any]


_origin: ContextVar[Origin | None] = ContextVar("llmtrace-origin", default=None)
"""Origin for a thread that works for a stream whose frames are on another stack."""


class DeferredStreams:
    """Lazy streams in existence, by the frame of the SDK's generator.

    Such a stream sends its requests when it is iterated, perhaps in another context than the one it was created in.
    The generator belongs to the caller and stays unchanged. The hook that sends a request therefore searches its own
    stack for the generator's frame.
    """

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._origins: dict[int, Origin] = {}

    def remember(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Call ``wrapped``, which returns a lazy stream, and keep the current context for it."""
        stream = wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    async def remember_async(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Await ``wrapped``, which returns a lazy stream, and keep the current context for it."""
        stream = await wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    def _keep(self, stream: Any) -> None:
        try:
            frame = _frame(stream)
            if frame is None or not self._patches.active:
                return
            key = id(frame)

            def forget(reference: weakref.ref[Any]) -> None:
                origin = self._origins.get(key)
                if origin is not None and origin.stream is reference:
                    del self._origins[key]

            self._origins[key] = Origin(context_state.current(), weakref.ref(stream, forget))
        except Exception:
            log_internal_error("remember a lazy stream")

    async def propagate(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Run ``wrapped`` with the origin of the current stream set: the SDK may run it in a thread."""
        token = _origin.set(self.find(sys._getframe()))
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _origin.reset(token)

    def find(self, frame: FrameType | None) -> Origin | None:
        """Return the origin of the outermost lazy stream on this stack. Never raises."""
        return attempt("find the stream of a call", self._find, frame)

    def _find(self, frame: FrameType | None) -> Origin | None:
        outermost = _origin.get()
        origins = self._origins
        while frame is not None and origins:
            origin = origins.get(id(frame))
            if origin is not None and _frame(origin.stream()) is frame:
                outermost = origin
            frame = frame.f_back
        return outermost


def _frame(stream: Any) -> Any:
    return getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)
