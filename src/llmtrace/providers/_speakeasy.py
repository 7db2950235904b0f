"""The point where every call of a Speakeasy-generated SDK passes; it hands out HTTP responses that are parsed later."""

from __future__ import annotations

import json
import sys
import weakref
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import wrapt

from .._errors import log_internal_error
from .._read import get
from ..capture.call import OpenCall
from ..capture.error_body import error_code
from ..capture.http_body import ObservedBody, SseParser, observe_body
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator
from ..context.state import current_call
from ..model import Response
from . import _hooks
from ._patches import Patches
from .hosts import provider_of
from .registry import Sdk, fetched_id

__all__ = ["patch"]


def patch(sdk: Sdk, module: Any, tracing: CallServices) -> Patches:
    """Hook ``module``, the SDK's ``basesdk``."""
    patches = Patches()
    counted = False

    def begin(args: Any, kwargs: Any) -> OpenCall | None:
        return _begin(sdk, tracing, args, kwargs, counted=counted) if patches.active else None

    def do_request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        return _hooks.drive(call, _settle, wrapped, args, kwargs)

    async def do_request_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        return await _hooks.drive_async(call, _settle, wrapped, args, kwargs)

    def streams(eventstreaming: Any) -> None:
        try:
            for name in _STREAMS:
                if patches.active and hasattr(eventstreaming, name):
                    patches.wrap(getattr(eventstreaming, name), "__init__", _observe_stream)
        except Exception:
            log_internal_error(f"hook {eventstreaming.__name__}")

    patches.wrap_in(module, "BaseSDK", "do_request", do_request)
    owner = "AsyncBaseSDK" if hasattr(module, "AsyncBaseSDK") else "BaseSDK"
    patches.wrap_in(module, owner, "do_request_async", do_request_async)
    package = module.__name__.rpartition(".")[0]
    for name, owner in _HOOKS:
        hooked = getattr(sys.modules.get(f"{package}._hooks.{name}"), owner, None)
        if hooked is not None:
            patches.wrap(hooked, "before_request", _attempt)
            counted = True
    wrapt.register_post_import_hook(streams, f"{package}.utils.eventstreaming")
    return patches


_STREAMS = ("Stream", "AsyncStream", "EventStream", "EventStreamAsync")
_HOOKS = (("sdkhooks", "SDKHooks"), ("asyncsdkhooks", "AsyncSDKHooks"))
"""What the SDK calls before each attempt: ``basesdk`` imports them."""


def _attempt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    call = current_call()
    if isinstance(call, OpenCall):
        call.retries += 1
    return wrapped(*args, **kwargs)


def _begin(sdk: Sdk, tracing: CallServices, args: Any, kwargs: Any, *, counted: bool) -> OpenCall | None:
    try:
        given = dict(zip(("hook_ctx", "request"), args, strict=False)) | kwargs
        http = given["request"]
        base = urlsplit(given["hook_ctx"].base_url).path.rstrip("/")
        wire = sdk.route(http.method.lower(), http.url.path.removeprefix(base))
        if wire is None:
            return None
        body = json.loads(http.content) if http.content else None
        request = wire.request(body)
        if "text/event-stream" in http.headers.get("accept", ""):
            request = replace(request, stream=True)
        if request.operation == "fetch_response":
            request = replace(request, response_id=fetched_id(http.url.path))
        host = http.url.host or None
        call = _hooks.begin(
            tracing,
            sdk.name,
            wire,
            request,
            provider=provider_of(None, host, sdk.provider),
            server=None if host is None else (host, http.url.port or (80 if http.url.scheme == "http" else 443)),
            body=body,
        )
        if tracing.estimator is not None:
            call.body = body
        if counted:
            call.retries = -1  # every attempt counts, the first too
        return call
    except Exception:
        log_internal_error("begin a call")
        return None


def _settle(call: OpenCall, http: Any) -> None:
    call.http_response = http
    if http.status_code >= 400:
        # The exception is made later, out of our sight.
        call.end(Response(failed=True, http_status=http.status_code, error=_code(http)))
    else:
        observe_body(call, http)


def _observe_stream(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
    """The SDK's stream object reads the body from now on: what it hands out is watched, in place of the bytes."""
    result = wrapped(*args, **kwargs)
    try:
        http = stream.response
        body = http.stream
        if isinstance(body, ObservedBody) and isinstance(body._self_reader, SseParser):
            reader, inner = body._self_reader, stream.generator
            if type(stream).__name__.startswith("EventStream"):
                reader.recorder.unwrap(_data)
            watched = AsyncObservedIterator if hasattr(inner, "__anext__") else ObservedIterator
            stream.generator = watched(inner, reader.recorder)
            http.stream = ObservedBody(
                body.__wrapped__, reader, reader.recorder, weakref.ref(inner), weakref.ref(stream)
            )
    except Exception:
        log_internal_error("watch a stream")
    return result


def _data(event: Any) -> Any:
    """The wire's chunk, which these SDKs put into an event of their own."""
    data = get(event, "data")
    return event if data is None else data


def _code(http: Any) -> str | None:
    try:
        return error_code(json.loads(http.content))
    except Exception as unread:  # a body still to be read, or no JSON
        del unread
        return None
