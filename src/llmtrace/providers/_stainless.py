"""Hooks for Stainless-generated SDKs (openai, anthropic), where every call passes one method."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from .._errors import log_internal_error
from ..capture.background import FETCH
from ..capture.call import CallState
from ..capture.http_body import ObservedBody, make_parser, observe_body, release_response
from ..capture.services import CallServices
from ..capture.stream import (
    AsyncObservedHelperIterator,
    AsyncObservedIterator,
    ObservedHelperIterator,
    ObservedIterator,
    StreamObserver,
)
from . import _hooks
from ._native_spans import hook_native_spans
from ._patches import Patches
from ._requests import call_hooks
from ._routing import current_routed_call
from .contract import Provider, fetched_id
from .hosts import provider_of, server_of
from .openai.stream_usage import UsageInjector


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, the SDK's ``_base_client``."""
    patches = Patches()
    begin = _call_factory(provider, services, patches)
    prepare = None if services.stream_usage is None else partial(_inject_usage, services.stream_usage)
    hooks = call_hooks(begin, _settle, prepare)
    for owner, hook in zip(("SyncAPIClient", "AsyncAPIClient"), hooks, strict=True):
        patches.wrap_in(module, owner, "request", hook)
        patches.wrap_in(module, owner, "_process_response", _process_response)
    patches.wrap_in(module, "BaseClient", "_calculate_retry_timeout", _count_retry)
    package = module.__name__.rpartition(".")[0]
    for name in _HELPERS:
        patches.when_imported(f"{package}.lib.streaming.{name}", _hook_helpers)
    hook_native_spans(provider, services, patches)
    return patches


_HELPERS = ("_messages", "_beta_messages", "chat._completions", "responses._responses")
"""Modules with streams that combine the events of another stream, and may fail. They are imported at first use."""


def _hook_helpers(module: Any, patches: Patches) -> None:
    """Observe the stream helpers of a module: an error of theirs ends the stream."""
    for helper in list(vars(module).values()):
        if isinstance(helper, type) and helper.__module__ == module.__name__ and "__stream__" in vars(helper):
            patches.wrap(helper, "__stream__", _read_by_helper)


def _read_by_helper(wrapped: Any, helper: Any, args: Any, kwargs: Any) -> Any:
    """Wrap the iterator of a stream helper, so that its errors end the stream that it reads."""
    events = wrapped(*args, **kwargs)
    try:
        stream = getattr(helper, "_raw_stream", helper)
        chunks = getattr(stream, "_iterator", None)
        observer = getattr(chunks, "_observer", None)
        if observer is None:  # in some releases the helper reads the response
            observer = stream.response.stream._self_reader.observer
    except Exception as error:  # not a stream of the SDK's own
        del error
        return events
    return (AsyncObservedHelperIterator if hasattr(events, "__anext__") else ObservedHelperIterator)(events, observer)


def _inject_usage(usage: UsageInjector, call: CallState, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a request, with ``include_usage`` in a copy of its options."""
    try:
        if len(args) > 1:
            return (args[0], _injected(usage, call, args[1]), *args[2:]), kwargs
        return args, {**kwargs, "options": _injected(usage, call, kwargs["options"])}
    except Exception:
        log_internal_error("inject include_usage")
        return args, kwargs


def _injected(usage: UsageInjector, call: CallState, options: Any) -> Any:
    injected = usage.inject(call.start, options)
    call.injected_include_usage = injected is not options
    return injected


def _process_response(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _hooks.current_call()
    if call is not None:
        call.http_response = kwargs.get("response")
    return wrapped(*args, **kwargs)


def _count_retry(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _hooks.current_call()
    if call is not None:
        call.retries += 1
        _hooks.record_failed_attempt(call, sys.exception())
    return wrapped(*args, **kwargs)


_MAX_TARGETS = 256
"""Maximum number of cached client addresses."""


def _call_factory(
    provider: Provider, services: CallServices, patches: Patches
) -> Callable[[Any, Any, Any], CallState | None]:
    """Return a function that opens a call for each request that is traced."""
    targets: dict[int, tuple[Any, type, tuple[str, tuple[str, int] | None]]] = {}

    def begin(client: Any, args: Any, kwargs: Any) -> CallState | None:
        if not patches.active:
            return None
        try:
            options = args[1] if len(args) > 1 else kwargs.get("options")
            url = options.url
            wire_format = provider.route(options.method, url if url.startswith("/") else f"/{url}")
            if wire_format is None:
                return None
            body = _body(options)
            request = wire_format.request(options.params if body is None else body)
            if not request.operation:
                return None
            request.stream = kwargs.get("stream") is True
            if request.operation == FETCH:
                request.response_id = fetched_id(url)
            vendor, server = find_target(client)
            if vendor == provider.default_provider and (routed := current_routed_call()) is not None:
                vendor = routed.provider or vendor
            return _hooks.begin(services, provider, wire_format, request, vendor, server, body)
        except Exception:
            log_internal_error("begin a call")
            return None

    def find_target(client: Any) -> tuple[str, tuple[str, int] | None]:
        url, cls = getattr(client, "base_url", None), type(client)
        # Look up by identity: the SDK's URLs are slow to hash. The cache holds each URL, so its id stays unique.
        cached = targets.get(id(url))
        if cached is not None and cached[1] is cls:
            return cached[2]
        server = server_of(url)
        target = provider_of(client, server and server[0], provider.default_provider), server
        if len(targets) >= _MAX_TARGETS:
            targets.clear()
        targets[id(url)] = url, cls, target
        return target

    return begin


def _body(options: Any) -> Any:
    extra = getattr(options, "extra_json", None)
    body = options.json_data
    return {**body, **extra} if isinstance(extra, dict) and isinstance(body, dict) else body


def _settle(call: CallState, result: Any) -> None:
    """End the call with a complete response, or let the observer of a stream end it later."""
    http_response = call.http_response
    attributes = getattr(result, "__dict__", {})
    if http_response is not None and (result is http_response or attributes.get("http_response") is http_response):
        observe_body(call, http_response)
    elif call.start.request.stream and call.start.wire_format.accumulator is not None and hasattr(result, "_iterator"):
        _settle_stream(call, result)
    elif http_response is not None and attributes.get("response") is http_response:  # the body is not JSON
        observe_body(call, http_response)
    else:
        call.end(call.read_response(result))


def _settle_stream(call: CallState, stream: Any) -> None:
    observer = StreamObserver(call, call.make_accumulator())
    inner = stream._iterator
    stream._iterator = (
        AsyncObservedIterator(inner, observer) if hasattr(inner, "__anext__") else ObservedIterator(inner, observer)
    )
    # Hold the iterator weakly, since it holds the response: a cycle would delay the end of a dropped stream.
    http_response = stream.response
    http_response.stream = ObservedBody(
        http_response.stream, make_parser(http_response, observer), observer, weakref.ref(inner)
    )
    release_response(call, http_response)
