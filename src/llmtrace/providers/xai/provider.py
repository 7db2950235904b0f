"""The ``xai_sdk`` client library, which opens a span of its own for each call."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from ..._compat.wrapt import ObjectProxy
from ..._errors import log_internal_error
from ...capture.call import CallState
from ...capture.services import CallServices
from ...context import state as context_state
from .. import Provider, _hooks, named
from .._patches import Patches
from .._requests import call_hooks, lazy_stream, open_call
from .messages import XAI_CHAT, to_dict

_RESULTS: dict[str, Callable[[Any], Any]] = {
    "sample": lambda result: result.proto,
    "parse": lambda result: result[0].proto,
    "defer": lambda result: result.proto,
    "sample_batch": lambda result: result[0].proto,
    "defer_batch": lambda result: result[0].proto,
}
"""Methods of a chat, and functions from their results to the protobuf response."""
_CHUNKS: dict[str, Callable[[Any], Any]] = {
    "stream": lambda item: to_dict(item[1].proto),
    "stream_batch": lambda item: to_dict(item[1][0].proto),
}
"""Methods of a chat that stream, and functions from an item to the chunk."""


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in the chats of the library, whose last module is ``module``, the synchronous client."""
    patches = Patches()
    package = module.__name__.partition(".")[0]
    for colour in ("sync", "aio"):
        chat: Any = sys.modules.get(f"{package}.{colour}.chat")
        for name, unwrap in _RESULTS.items():
            once, once_async = call_hooks(partial(_begin, provider, services, patches, name), _settle(unwrap))
            patches.wrap_in(chat, "Chat", name, once if colour == "sync" else once_async)
        for name, unwrap in _CHUNKS.items():
            patches.wrap_in(chat, "Chat", name, _lazily(provider, services, patches, name, unwrap))
        if hasattr(chat, "tracer"):  # the first releases have no spans
            patches.replace(chat, "tracer", _Tracer(chat.tracer, services.native_spans == "replace"))
    return patches


def _begin(
    provider: Provider,
    services: CallServices,
    patches: Patches,
    name: str,
    chat: Any,
    args: Any,
    kwargs: Any,
    context: Any = None,
) -> CallState | None:
    if not patches.active:
        return None
    try:
        body = to_dict(chat.proto)
        if name.endswith("batch") and args and isinstance(args[0], int):
            body["n"] = args[0]
    except Exception:
        log_internal_error("begin a call")
        return None
    # There is no address: a chat has only the channel.
    return open_call(provider, services, "chat", name, body, base="", stream=name in _CHUNKS, context=context)


def _settle(unwrap: Callable[[Any], Any]) -> Callable[[CallState, Any], None]:
    return lambda call, result: call.end(call.read_response(to_dict(unwrap(result))))


def _lazily(provider: Provider, services: CallServices, patches: Patches, name: str, unwrap: Any) -> Any:
    def hook(wrapped: Any, chat: Any, args: Any, kwargs: Any) -> Any:
        stream = wrapped(*args, **kwargs)
        if not patches.active:
            return stream
        context = context_state.current()
        return lazy_stream(
            stream, lambda: _begin(provider, services, patches, name, chat, args, kwargs, context), unwrap=unwrap
        )

    return hook


class _NoSpan:
    """Span in the place of the library's own, which records nothing, and the block that it is open in."""

    def set_attribute(self, *_: Any) -> None: ...

    def set_attributes(self, *_: Any) -> None: ...

    def __enter__(self) -> _NoSpan:
        return self

    def __exit__(self, *_: Any) -> None: ...


class _KeptSpan:
    """Block of the library's own span, which carries the usage of the call."""

    def __init__(self, block: Any, call: CallState) -> None:
        self._block = block
        self._call = call

    def __enter__(self) -> Any:
        span = self._block.__enter__()
        self._call.usage_on_other_span = bool(span.is_recording())
        return span

    def __exit__(self, *raised: Any) -> Any:
        return self._block.__exit__(*raised)


class _Tracer(ObjectProxy):
    """Tracer of the library, whose spans are left out or kept for the calls that llmtrace traces."""

    def __init__(self, wrapped: Any, replaces: bool) -> None:
        super().__init__(wrapped)
        self._self_replaces = replaces

    def start_as_current_span(self, *args: Any, **kwargs: Any) -> Any:
        """Return the block of a span."""
        call = _hooks.current_call()
        if call is None or call.start.client != XAI.name:
            return self.__wrapped__.start_as_current_span(*args, **kwargs)
        if self._self_replaces:
            return _NoSpan()
        return _KeptSpan(self.__wrapped__.start_as_current_span(*args, **kwargs), call)


XAI = Provider(
    name="xai",
    distribution="xai-sdk",
    module="xai_sdk.sync.client",
    supported=">=1.4,<2",
    hook=patch,
    routes=named("xai", {("CHAT", name): (f"chat.{name}", XAI_CHAT) for name in (*_RESULTS, *_CHUNKS)}),
    serves="x_ai",
)
