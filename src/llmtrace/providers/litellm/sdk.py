"""Hooks for LiteLLM: its HTTP client, the functions that programs call, and streams that send their request late.

What LiteLLM sends through the client library of a vendor is traced by the hook of that library.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import urlsplit

import wrapt

from ..._errors import log_internal_error
from ..._read import get, get_text
from ...capture.call import CallState
from ...capture.http_body import observe_body
from ...capture.services import CallServices
from ...context import state as context_state
from .. import _hooks
from .._hooks import RefusalCarrier, RoutedCall, routed_call
from .._patches import Patches
from ..contract import Provider
from ..hosts import provider_of

__all__ = ["patch"]

_VENDORS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "codestral": "mistral_ai",
    "cohere_chat": "cohere",
    "custom_openai": None,
    "gemini": "gcp.gemini",
    "huggingface": "hugging_face",
    "litellm_proxy": None,
    "minimax": "minimax_ai",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai_like": None,
    "text-completion-codestral": "mistral_ai",
    "text-completion-openai": "openai",
    "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai",
    "voyage": "voyage_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
    "zai": "z_ai",
}
"""Values of ``gen_ai.provider.name`` by LiteLLM's names, where they differ. ``None`` leaves it to the host."""

_FUNCTIONS = (
    "completion", "text_completion", "embedding", "responses", "rerank", "anthropic_messages", "generate_content",
    "generate_content_stream", "image_generation", "image_edit", "moderation", "speech", "transcription",
    "batch_completion", "completion_with_retries", "compact_responses",
)  # fmt: skip
"""Functions of the package and methods of its router. Their asynchronous forms begin with an ``a``."""
_ROUTER = ("function_with_fallbacks", "async_function_with_fallbacks", "_drive", "_call_sync", "schedule_acompletion")
"""Methods through which routers of different releases send the requests of methods that each instance creates."""


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in the modules that ``module``, the package, has loaded, and in those that it loads later."""
    patches = Patches()

    def post(wrapped: Any, handler: Any, args: Any, kwargs: Any) -> Any:
        call = _begin(provider, services, args, kwargs) if patches.active else None
        return wrapped(*args, **kwargs) if call is None else _hooks.drive(call, _settle, wrapped, args, kwargs)

    async def post_async(wrapped: Any, handler: Any, args: Any, kwargs: Any) -> Any:
        call = _begin(provider, services, args, kwargs) if patches.active else None
        if call is None:
            return await wrapped(*args, **kwargs)
        return await _hooks.drive_async(call, _settle, wrapped, args, kwargs)

    def hook_http(handlers: Any) -> None:
        patches.wrap_in(handlers, "HTTPHandler", "post", post)
        patches.wrap_in(handlers, "AsyncHTTPHandler", "post", post_async)

    def hook_logging(logging: Any) -> None:
        patches.wrap_in(logging, "Logging", "update_environment_variables", _note_vendor)

    def hook_streams(streams: Any) -> None:
        patches.wrap_in(streams, "CustomStreamWrapper", "__init__", _keep_context)
        patches.wrap_in(streams, "CustomStreamWrapper", "__next__", _read)
        patches.wrap_in(streams, "CustomStreamWrapper", "__anext__", _read)

    def hook_functions(owner: Any) -> None:
        for name in (*_FUNCTIONS, *(f"a{name}" for name in _FUNCTIONS), "create", "acreate", *_ROUTER):
            function = vars(owner).get(name)
            if function is not None:
                patches.wrap(owner, name, _route_async if iscoroutinefunction(function) else _route)

    hook_functions(module)
    for name, hook in (
        ("llms.custom_httpx.http_handler", hook_http),
        ("litellm_core_utils.litellm_logging", hook_logging),
        ("litellm_core_utils.streaming_handler", hook_streams),
        ("anthropic_interface.messages", hook_functions),
        ("router", lambda router: hook_functions(router.Router)),
        ("router_rust.core", lambda core: hook_functions(core.RustCore)),
    ):
        wrapt.register_post_import_hook(partial(_hook, patches, hook), f"{module.__name__}.{name}")
    return patches


def _hook(patches: Patches, hook: Callable[[Any], None], module: Any) -> None:
    try:
        if patches.active:
            hook(module)
    except Exception:
        log_internal_error(f"hook {module.__name__}")


def _route(wrapped: Any, instance: Any, args: Any, kwargs: Any, provider: str | None = None) -> Any:
    """Call a function of LiteLLM. A refusal passes its retries and fallbacks and reaches the caller as it is."""
    outer = routed_call.get()
    routed = RoutedCall(provider)
    token = routed_call.set(routed)
    try:
        return wrapped(*args, **kwargs)
    except RefusalCarrier as carrier:
        if outer is not None and outer.active:
            raise
        refusal = carrier.refusal
    finally:
        routed.active = False
        routed_call.reset(token)
    raise refusal


async def _route_async(wrapped: Any, instance: Any, args: Any, kwargs: Any, provider: str | None = None) -> Any:
    """Await a function of LiteLLM. A refusal passes its retries and fallbacks and reaches the caller as it is."""
    outer = routed_call.get()
    routed = RoutedCall(provider)
    token = routed_call.set(routed)
    try:
        return await wrapped(*args, **kwargs)
    except RefusalCarrier as carrier:
        if outer is not None and outer.active:
            raise
        refusal = carrier.refusal
    finally:
        routed.active = False
        with suppress(ValueError):  # a coroutine closed in another context than it was entered in
            routed_call.reset(token)
    raise refusal


def _note_vendor(wrapped: Any, logging: Any, args: Any, kwargs: Any) -> Any:
    """Keep the vendor that LiteLLM has chosen for the requests that it sends through other client libraries."""
    routed = routed_call.get()
    if routed is not None:
        routed.provider = _vendor(kwargs.get("custom_llm_provider"))
    return wrapped(*args, **kwargs)


def _vendor(name: Any) -> str | None:
    return _VENDORS.get(name, name) if isinstance(name, str) else None


def _keep_context(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> None:
    """Create a stream. If it sends its request when it is first read, that happens in the context it was created in."""
    wrapped(*args, **kwargs)
    send = getattr(stream, "make_call", None)
    if callable(send):
        in_context = _in_context_async if iscoroutinefunction(send) else _in_context
        stream.make_call = partial(in_context, send, context_state.current())


def _in_context(send: Callable[..., Any], context: Any, *args: Any, **kwargs: Any) -> Any:
    outer, token = context_state.current(), context_state.attach(context)
    try:
        return send(*args, **kwargs)
    finally:
        context_state.restore(token, outer)


async def _in_context_async(send: Callable[..., Awaitable[Any]], context: Any, *args: Any, **kwargs: Any) -> Any:
    outer, token = context_state.current(), context_state.attach(context)
    try:
        return await send(*args, **kwargs)
    finally:
        context_state.restore(token, outer)


def _read(wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
    """Read the next chunk of a stream. Before the first one, it may still have to send its request."""
    if stream.completion_stream is not None or stream.make_call is None:
        return wrapped(*args, **kwargs)
    route = _route_async if wrapped.__name__ == "__anext__" else _route
    return route(wrapped, stream, args, kwargs, _vendor(stream.custom_llm_provider))


def _begin(provider: Provider, services: CallServices, args: Any, kwargs: Any) -> CallState | None:
    try:
        arguments = dict(zip(("url", "data", "json"), args, strict=False)) | kwargs
        url = urlsplit(str(arguments["url"]))
        route, model = _parse_path(url.path)
        wire_format = provider.route("POST", route)
        if wire_format is None:
            return None
        body = next((arguments[name] for name in ("json", "data", "content") if arguments.get(name)), None)
        if isinstance(body, (str, bytes)):
            body = json.loads(body)
        request = wire_format.request(body)
        if route == ":streamGenerateContent":
            request = replace(request, stream=True)
        details = get(arguments.get("logging_obj"), "model_call_details")
        request.model = request.model or model or get_text(details, "model")
        vendor = _vendor(get(details, "custom_llm_provider")) or _hooks.routed_provider()
        host = url.hostname
        call = _hooks.begin(
            services,
            provider.name,
            wire_format,
            request,
            provider=provider_of(None, host, vendor or provider.default_provider),
            server=None if host is None else (host, url.port or (80 if url.scheme == "http" else 443)),
            body=body,
        )
        if services.estimator is not None:
            call.body = body
        return call
    except Exception:
        log_internal_error("begin a call")
        return None


def _parse_path(path: str) -> tuple[str, str | None]:
    """Return the route of a request, and the model if the path has it."""
    parent, _, last = path.rstrip("/").rpartition("/")
    model, colon, verb = last.rpartition(":")
    if colon:
        return ("/messages" if "/publishers/anthropic/" in parent else f":{verb}"), model or None
    return (f"/chat/{last}" if parent.endswith("/chat") else f"/{last}"), None


def _settle(call: CallState, http_response: Any) -> None:
    call.http_response = http_response
    observe_body(call, http_response)
