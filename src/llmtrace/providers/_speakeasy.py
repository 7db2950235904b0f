"""Hooks for Speakeasy-generated SDKs, whose request method returns HTTP responses that are parsed later."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .._errors import log_internal_error
from ..capture.call import CallState
from ..capture.http_body import ObservedBody, SseParser
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator
from ..context.state import current_call
from ._native_spans import hook_native_spans
from ._patches import Patches
from ._requests import call_hooks, end_with_http, open_call
from .contract import Provider


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the SDK's ``basesdk``."""
    patches = Patches()
    counts_attempts = False

    def begin(_: Any, args: Any, kwargs: Any) -> CallState | None:
        call = _begin(provider, services, args, kwargs) if patches.active else None
        if call is not None and counts_attempts:
            call.retries = -1  # the hook counts every attempt, including the first
        return call

    def hook_streams(eventstreaming: Any, part: Patches) -> None:
        for name in _STREAMS:
            if hasattr(eventstreaming, name):
                part.wrap(getattr(eventstreaming, name), "__init__", partial(_observe_stream, provider.unwrap))

    do_request, do_request_async = call_hooks(begin, end_with_http)
    patches.wrap_in(module, "BaseSDK", "do_request", do_request)
    owner = "AsyncBaseSDK" if hasattr(module, "AsyncBaseSDK") else "BaseSDK"
    patches.wrap_in(module, owner, "do_request_async", do_request_async)
    package = module.__name__.rpartition(".")[0]
    for name, owner in _HOOKS:
        hooked = getattr(sys.modules.get(f"{package}._hooks.{name}"), owner, None)
        if hooked is not None:
            patches.wrap(hooked, "before_request", _count_attempt)
            counts_attempts = True
    patches.when_imported(f"{package}.utils.eventstreaming", hook_streams)
    hook_native_spans(provider, services, patches)
    return patches


_STREAMS = ("Stream", "AsyncStream", "EventStream", "EventStreamAsync")
_HOOKS = (("sdkhooks", "SDKHooks"), ("asyncsdkhooks", "AsyncSDKHooks"))
"""Modules and classes that the SDK calls before each attempt. ``basesdk`` imports them."""


def _count_attempt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    call = current_call()
    if isinstance(call, CallState):
        call.retries += 1
    return wrapped(*args, **kwargs)


def _begin(provider: Provider, services: CallServices, args: Any, kwargs: Any) -> CallState | None:
    try:
        arguments = dict(zip(("hook_ctx", "request"), args, strict=False)) | kwargs
        http_request = arguments["request"]
        base = urlsplit(arguments["hook_ctx"].base_url).path.rstrip("/")
        path = http_request.url.path.removeprefix(base)
        if provider.route(http_request.method, path) is None:
            return None  # do not parse bodies that are not JSON
        body = json.loads(http_request.content) if http_request.content else None
        stream = "text/event-stream" in http_request.headers.get("accept", "")
    except Exception:
        log_internal_error("begin a call")
        return None
    return open_call(provider, services, http_request.method, path, body, base=http_request.url, stream=stream)


def _observe_stream(unwrap: Callable[[Any], Any] | None, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
    """Observe the items of the SDK's stream object, which reads the body from now on, in place of the bytes."""
    result = wrapped(*args, **kwargs)
    try:
        http_response = stream.response
        body = http_response.stream
        if isinstance(body, ObservedBody) and isinstance(body._self_reader, SseParser):
            reader, inner = body._self_reader, stream.generator
            if unwrap is not None:
                reader.observer.unwrap(unwrap)
            iterator_type = AsyncObservedIterator if hasattr(inner, "__anext__") else ObservedIterator
            stream.generator = iterator_type(inner, reader.observer)
            http_response.stream = ObservedBody(
                body.__wrapped__, reader, reader.observer, weakref.ref(inner), weakref.ref(stream)
            )
    except Exception:
        log_internal_error("observe a stream")
    return result
