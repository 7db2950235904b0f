"""Hooks for LiteLLM: its HTTP client, the functions that programs call, and streams that send their request late.

What LiteLLM sends through the client library of a vendor is traced by the hook of that library.
"""

from __future__ import annotations

import asyncio
import json
import weakref
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from ..._errors import log_internal_error
from ..._read import get, get_text
from ...capture.call import CallState
from ...capture.http_body import ObservedBody
from ...capture.services import CallServices
from ...capture.stream import notify
from ...context import state as context_state
from .._patches import Patches
from .._requests import call_hooks, end_with_http, open_call
from .._routing import RoutedCall, current_routed_call, route, route_async
from ..contract import Provider
from .requests import STREAMED, parse_path, read_body, read_vendor

_FUNCTIONS = (
    "completion", "text_completion", "batch_completion", "completion_with_retries", "responses", "compact_responses",
    "anthropic_messages", "create", "generate_content", "generate_content_stream", "embedding", "rerank", "moderation",
    "image_generation", "image_edit", "speech", "transcription",
)  # fmt: skip
"""Functions of the package and methods of its router. Their asynchronous forms begin with an ``a``."""
_ROUTER = ("function_with_fallbacks", "async_function_with_fallbacks", "_drive", "_call_sync", "schedule_acompletion")
"""Methods through which routers of different releases send the requests of methods that each instance creates."""


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in the modules that ``module``, the package, has loaded, and in those that it loads later."""
    patches = Patches()

    def begin(handler: Any, args: Any, kwargs: Any) -> CallState | None:
        return _begin(provider, services, args, kwargs) if patches.active else None

    post, post_async = call_hooks(begin, _settle, _inject_usage)
    name = module.__name__
    handlers, utils = f"{name}.llms.custom_httpx.http_handler", f"{name}.litellm_core_utils"
    streams = {"__init__": _keep_call, "__next__": _read, "__anext__": _read_async}
    patches.wrap_when_imported(handlers, "HTTPHandler", post=post)
    patches.wrap_when_imported(handlers, "AsyncHTTPHandler", post=post_async)
    # Called once LiteLLM has chosen the vendor.
    patches.wrap_when_imported(f"{utils}.litellm_logging", "Logging", update_environment_variables=_note_vendor)
    patches.wrap_when_imported(f"{utils}.streaming_handler", "CustomStreamWrapper", **streams)
    patches.wrap_when_imported(f"{utils}.fallback_utils", "", run_async_function=_run_async)
    _hook_routing("", module, patches)
    for part, owner in (("anthropic_interface.messages", ""), ("router", "Router"), ("router_rust.core", "RustCore")):
        patches.when_imported(f"{name}.{part}", partial(_hook_routing, owner))
    return patches


def _hook_routing(owner: str, module: Any, patches: Patches) -> None:
    target = getattr(module, owner) if owner else module
    for name in (*_FUNCTIONS, *(f"a{name}" for name in _FUNCTIONS), *_ROUTER):
        function = vars(target).get(name)
        if function is not None:
            patches.wrap(target, name, route_async if iscoroutinefunction(function) else route)


def _run_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Run a coroutine function, perhaps in a thread: LiteLLM does not pass the caller's context on to it."""

    async def in_context(**options: Any) -> Any:
        return await asyncio.get_running_loop().create_task(function(**options), context=context)

    context, function = copy_context(), kwargs["async_function"]
    return wrapped(**{**kwargs, "async_function": in_context})


def _note_vendor(wrapped: Any, logging: Any, args: Any, kwargs: Any) -> Any:
    """Keep the vendor that LiteLLM has chosen for the requests that it sends through other client libraries."""
    if (routed := current_routed_call()) is not None:
        routed.provider = read_vendor(kwargs.get("custom_llm_provider"))
    return wrapped(*args, **kwargs)


_calls: WeakKeyDictionary[Any, RoutedCall] = WeakKeyDictionary()
"""Calls of streams. Some streams send their request when they are first read, in the context they were created in."""


def _keep_call(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> None:
    wrapped(*args, **kwargs)
    try:
        routed = current_routed_call()
        if getattr(stream, "make_call", None) is not None:
            _calls[stream] = RoutedCall(context_state.current(), None if routed is None else routed.provider)
        elif routed is not None:
            _calls[stream] = routed
    except Exception:
        log_internal_error("keep the call of a stream")


def _read(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
    try:
        if getattr(stream, "completion_stream", stream) is None and (call := _calls.get(stream)) is not None:
            return route(wrapped, stream, args, kwargs, call)
        return wrapped(*args, **kwargs)
    except Exception as error:
        _end(stream, error)
        raise


async def _read_async(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
    try:
        if getattr(stream, "completion_stream", stream) is None and (call := _calls.get(stream)) is not None:
            return await route_async(wrapped, stream, args, kwargs, call)
        return await wrapped(*args, **kwargs)
    except Exception as error:
        _end(stream, error)
        raise


def _end(stream: Any, error: Exception) -> None:
    """End the call of a stream that was read to its end or failed: LiteLLM may neither read on nor close the body."""
    call = _calls.pop(stream, None)
    body = None if call is None or call.body is None else call.body()
    if body is not None and isinstance(error, (StopIteration, StopAsyncIteration)):
        notify(body._self_on_close)
    elif body is not None:
        notify(body._self_reader.on_error, error)


def _begin(provider: Provider, services: CallServices, args: Any, kwargs: Any) -> CallState | None:
    try:
        arguments = dict(zip(("url", "data", "json"), args, strict=False)) | kwargs
        url = str(arguments["url"])
        path, model = parse_path(provider, urlsplit(url).path)
        if provider.route("POST", path) is None:
            return None
        body = read_body(arguments, path, model)
        details, routed = get(arguments.get("logging_obj"), "model_call_details"), current_routed_call()
        return open_call(
            provider,
            services,
            "POST",
            path,
            body,
            base=url,
            stream=get(body, "stream") is True or path in STREAMED,
            vendor=read_vendor(get(details, "custom_llm_provider")) or (None if routed is None else routed.provider),
            model=model or get_text(details, "model"),
        )
    except Exception:
        log_internal_error("begin a call")
        return None


def _inject_usage(call: CallState, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a request, with ``include_usage`` in its body. LiteLLM hides the chunk that it adds."""
    usage, data = call.services.stream_usage, kwargs.get("data")
    if usage is None or not call.start.request.stream or not isinstance(data, str):  # a signed body is bytes
        return args, kwargs
    try:
        body = json.loads(data)
        injected = usage.inject_body(call.start, body)
        call.injected_include_usage = injected is not body
        return args, {**kwargs, "data": json.dumps(injected)} if call.injected_include_usage else kwargs
    except Exception:
        log_internal_error("inject include_usage")
        return args, kwargs


def _settle(call: CallState, http_response: Any) -> None:
    end_with_http(call, http_response)
    if isinstance(http_response.stream, ObservedBody) and (routed := current_routed_call()) is not None:
        routed.body = weakref.ref(http_response.stream)
