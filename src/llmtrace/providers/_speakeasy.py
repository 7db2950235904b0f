"""Hooks for Speakeasy-generated SDKs, whose request method returns HTTP responses that are parsed later."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .._errors import log_internal_error
from ..capture.call import CallState
from ..capture.http_body import ObservedBody, SseParser
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator
from ..context.state import current_call
from . import _hooks
from ._native_spans import hook_native_spans
from ._patches import Patches
from ._requests import call_hooks, end_with_http
from .contract import Provider, fetched_id
from .hosts import provider_of, server_of

__all__ = ["patch"]


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the SDK's ``basesdk``."""
    patches = Patches()
    counts_attempts = False

    def begin(_: Any, args: Any, kwargs: Any) -> CallState | None:
        return _begin(provider, services, args, kwargs, counts_attempts=counts_attempts) if patches.active else None

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


def _begin(
    provider: Provider, services: CallServices, args: Any, kwargs: Any, *, counts_attempts: bool
) -> CallState | None:
    try:
        arguments = dict(zip(("hook_ctx", "request"), args, strict=False)) | kwargs
        http_request = arguments["request"]
        base = urlsplit(arguments["hook_ctx"].base_url).path.rstrip("/")
        wire_format = provider.route(http_request.method, http_request.url.path.removeprefix(base))
        if wire_format is None:
            return None
        body = json.loads(http_request.content) if http_request.content else None
        request = wire_format.request(body)
        if "text/event-stream" in http_request.headers.get("accept", ""):
            request = replace(request, stream=True)
        if request.operation == "fetch_response":
            request = replace(request, response_id=fetched_id(http_request.url.path))
        call = _hooks.begin(
            services,
            provider.name,
            wire_format,
            request,
            provider=provider_of(None, http_request.url.host or None, provider.default_provider),
            server=server_of(http_request.url),
            body=body,
        )
        if counts_attempts:
            call.retries = -1  # the hook counts every attempt, including the first
        return call
    except Exception:
        log_internal_error("begin a call")
        return None


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
