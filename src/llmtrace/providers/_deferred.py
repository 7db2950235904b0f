"""Streams that send nothing until they are read: what was current when they were asked for."""

from __future__ import annotations

import sys
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .._errors import log_internal_error
from ..context import state as scopes
from ._patches import Patches

__all__ = ["DeferredStreams", "Origin"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What was current when a lazy stream was asked for."""

    context: Any
    stream: weakref.ref[Any]


_origin: ContextVar[Origin | None] = ContextVar("llmtrace-origin", default=None)
"""For a thread that works for a stream without having its frames."""


class DeferredStreams:
    """Lazy streams that were asked for, by the frame of the SDK's generator.

    Such a stream sends its requests when it is iterated, perhaps elsewhere, and what is around it then is not what
    the call belongs to. The generator is the caller's and stays as it is: whoever sends a request looks down its own
    stack for the frame.
    """

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._origins: dict[int, Origin] = {}

    def remember(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        stream = wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    async def remember_async(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        stream = await wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    def _keep(self, stream: Any) -> None:
        try:
            frame = _frame(stream)
            if frame is None or not self._patches.active:
                return
            key = id(frame)

            def forget(gone: weakref.ref[Any]) -> None:
                origin = self._origins.get(key)
                if origin is not None and origin.stream is gone:
                    del self._origins[key]

            self._origins[key] = Origin(scopes.current(), weakref.ref(stream, forget))
        except Exception:
            log_internal_error("note a stream")

    async def propagate(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        """Around what the SDK may hand to a thread."""
        token = _origin.set(self.find(sys._getframe()))
        try:
            return await wrapped(*args, **kwargs)
        finally:
            _origin.reset(token)

    def find(self, frame: FrameType | None) -> Origin | None:
        """Return the origin of the outermost stream at work on this stack. Never raises."""
        try:
            return self._find(frame)
        except Exception:
            log_internal_error("find the stream of a call")
            return None

    def _find(self, frame: FrameType | None) -> Origin | None:
        found = _origin.get()
        origins = self._origins
        while frame is not None and origins:
            origin = origins.get(id(frame))
            if origin is not None and _frame(origin.stream()) is frame:
                found = origin
            frame = frame.f_back
        return found


def _frame(stream: Any) -> Any:
    return getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)
