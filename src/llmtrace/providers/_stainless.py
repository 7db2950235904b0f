"""The point where every call of a Stainless-generated SDK (openai, anthropic) passes."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import wrapt

from .._errors import log_internal_error
from ..capture.call import OpenCall
from ..capture.http_body import ObservedBody, make_parser, observe_body
from ..capture.services import CallServices, StreamUsageInjector
from ..capture.stream import (
    AsyncObservedHelperIterator,
    AsyncObservedIterator,
    ObservedHelperIterator,
    ObservedIterator,
    StreamObserver,
)
from . import _hooks
from ._patches import Patches
from .hosts import provider_of
from .registry import Sdk, fetched_id

__all__ = ["patch"]


def patch(sdk: Sdk, module: Any, tracing: CallServices) -> Patches:
    """Hook ``module``, the SDK's ``_base_client``."""
    patches = Patches()
    begin = _StainlessCallFactory(sdk, tracing, patches).begin
    usage = tracing.stream_usage

    def request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        if usage is not None:
            args, kwargs = _inject_usage(usage, call, args, kwargs)
        return _hooks.drive(call, _settle, wrapped, args, kwargs)

    async def async_request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if usage is not None:
            args, kwargs = _inject_usage(usage, call, args, kwargs)
        return await _hooks.drive_async(call, _settle, wrapped, args, kwargs)

    for owner, hook in (("SyncAPIClient", request), ("AsyncAPIClient", async_request)):
        patches.wrap_in(module, owner, "request", hook)
        patches.wrap_in(module, owner, "_process_response", _process_response)
    patches.wrap_in(module, "BaseClient", "_calculate_retry_timeout", _retry)
    package = module.__name__.rpartition(".")[0]
    for name in _HELPERS:
        wrapt.register_post_import_hook(_helper_hook(weakref.ref(patches)), f"{package}.lib.streaming.{name}")
    if sdk.native is not None and hasattr(module, sdk.native):
        patches.wrap(module, sdk.native, _no_native_span if tracing.native_spans == "replace" else _native_span)
    return patches


_HELPERS = ("_messages", "_beta_messages", "chat._completions", "responses._responses")
"""Modules with streams that join the events of another stream, and may fail to. They are imported when first used."""


def _helper_hook(patches: weakref.ref[Patches]) -> Callable[[Any], None]:
    def imported(module: Any) -> None:
        try:
            active = patches()
            for helper in list(vars(module).values()) if active is not None and active.active else ():
                if isinstance(helper, type) and helper.__module__ == module.__name__ and "__stream__" in vars(helper):
                    assert active is not None
                    active.wrap(helper, "__stream__", _read_by_helper)
        except Exception:
            log_internal_error(f"hook {module.__name__}")

    return imported


def _read_by_helper(wrapped: Any, helper: Any, args: Any, kwargs: Any) -> Any:
    events = wrapped(*args, **kwargs)
    try:
        stream = getattr(helper, "_raw_stream", helper)
        chunks = getattr(stream, "_iterator", None)
        recorder = getattr(chunks, "_recorder", None)
        if recorder is None:  # a release that reads the response itself
            recorder = stream.response.stream._self_reader.recorder
    except Exception as unknown:  # a stream of somebody else's
        del unknown
        return events
    return (AsyncObservedHelperIterator if hasattr(events, "__anext__") else ObservedHelperIterator)(events, recorder)


def _inject_usage(usage: StreamUsageInjector, call: OpenCall, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of a request, with the wish for its usage in a copy of the options."""
    try:
        if len(args) > 1:
            return (args[0], usage.inject(call, args[1]), *args[2:]), kwargs
        return args, {**kwargs, "options": usage.inject(call, kwargs["options"])}
    except Exception:
        log_internal_error("ask for the usage of a stream")
        return args, kwargs


def _process_response(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _hooks.current_call()
    if call is not None:
        call.http_response = kwargs.get("response")
    return wrapped(*args, **kwargs)


def _retry(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _hooks.current_call()
    if call is not None:
        call.retries += 1
        _hooks.note_failed_attempt(call, sys.exception())
    return wrapped(*args, **kwargs)


def _no_native_span(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs) if _hooks.current_call() is None else None


def _native_span(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    """Let the SDK have its span; where it is one, and not switched off or sampled out, that carries the usage."""
    span = wrapped(*args, **kwargs)
    call = _hooks.current_call()
    if call is not None and span is not None and span.is_recording():
        call.usage_on_other_span = True
    return span


_MAX_TARGETS = 256
"""Addresses of clients."""


class _StainlessCallFactory:
    """Decides whether a request is a call we trace, and opens it."""

    def __init__(self, sdk: Sdk, tracing: CallServices, patches: Patches) -> None:
        self._sdk = sdk
        self._tracing = tracing
        self._patches = patches
        self._targets: dict[int, tuple[Any, type, tuple[str, tuple[str, int] | None]]] = {}

    def begin(self, client: Any, args: Any, kwargs: Any) -> OpenCall | None:
        if not self._patches.active:
            return None
        try:
            options = args[1] if len(args) > 1 else kwargs.get("options")
            url = options.url
            wire = self._sdk.route(options.method.lower(), url if url.startswith("/") else f"/{url}")
            if wire is None:
                return None
            body = _body(options)
            request = wire.request(options.params if body is None else body)
            stream = kwargs.get("stream") is True
            if stream is not request.stream:
                request = replace(request, stream=stream)
            if request.operation == "fetch_response":
                request = replace(request, response_id=fetched_id(url))
            provider, server = self._target(client)
            call = _hooks.begin(
                self._tracing,
                self._sdk.name,
                wire,
                request,
                provider=provider,
                server=server,
                body=body,
            )
            if self._tracing.estimator is not None:
                call.body = body
            return call
        except Exception:
            log_internal_error("begin a call")
            return None

    def _target(self, client: Any) -> tuple[str, tuple[str, int] | None]:
        url, cls = getattr(client, "_base_url", None), type(client)
        # By identity, as an address of the SDK's is slow to hash: what is known holds it, so no other gets its number.
        known = self._targets.get(id(url))
        if known is not None and known[1] is cls:
            return known[2]
        host = getattr(url, "host", None) or None
        port = getattr(url, "port", None) or (80 if getattr(url, "scheme", "") == "http" else 443)
        found = provider_of(client, host, self._sdk.provider), None if host is None else (host, port)
        if len(self._targets) >= _MAX_TARGETS:
            self._targets.clear()
        self._targets[id(url)] = url, cls, found
        return found


def _body(options: Any) -> Any:
    extra = getattr(options, "extra_json", None)
    body = options.json_data
    return {**body, **extra} if isinstance(extra, dict) and isinstance(body, dict) else body


def _settle(call: OpenCall, result: Any) -> None:
    """End the call with a finished answer; a stream takes it over."""
    http = call.http_response
    own = getattr(result, "__dict__", {})
    if http is not None and (result is http or own.get("http_response") is http):
        observe_body(call, http)
    elif call.request.stream and call.wire_format.accumulator is not None and hasattr(result, "_iterator"):
        _settle_stream(call, result)
    elif http is not None and own.get("response") is http:  # a body that is not JSON
        observe_body(call, http)
    else:
        call.end(call.read_response(result))


def _settle_stream(call: OpenCall, stream: Any) -> None:
    recorder = StreamObserver(call, call.make_accumulator())
    inner = stream._iterator
    stream._iterator = (
        AsyncObservedIterator(inner, recorder) if hasattr(inner, "__anext__") else ObservedIterator(inner, recorder)
    )
    # A weak reference, as the iterator holds the response: a dropped stream must need no collector because of us.
    http = stream.response
    http.stream = ObservedBody(http.stream, make_parser(http, recorder), recorder, weakref.ref(inner))
