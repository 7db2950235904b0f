"""Hook for botocore and aiobotocore, where every call of every AWS service passes one method."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

import wrapt

from .._errors import log_internal_error
from .._read import get
from ..capture.call import CallState
from ..capture.read_body import observe_reads
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from ..context.retrieval import retrieval
from . import _hooks
from ._patches import Patches
from .contract import Provider, SearchReaders

__all__ = ["patch"]


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, which is ``botocore.client``, and in aiobotocore when it is imported."""
    patches = Patches()
    hook = _BotocoreHook(provider, services, patches)

    def patch_module(package: str, prefix: str, call: Any, attempt: Any, iteration: tuple[str, Any]) -> None:
        if not patches.active:
            return
        patches.wrap_in(sys.modules[f"{package}.client"], f"{prefix}BaseClient", "_make_api_call", call)
        patches.wrap_in(sys.modules[f"{package}.endpoint"], f"{prefix}Endpoint", "_send", attempt)
        patches.wrap_in(sys.modules[f"{package}.eventstream"], f"{prefix}EventStream", *iteration)

    def patch_aiobotocore(_: Any) -> None:
        try:
            patch_module("aiobotocore", "Aio", hook.call_async, hook.send_async, ("__aiter__", hook.iterate_async))
        except Exception:
            log_internal_error("hook aiobotocore.client")

    patch_module("botocore", "", hook.call, hook.send, ("__iter__", hook.iterate))
    patches.wrap_in(sys.modules["botocore.eventstream"], "EventStream", "close", hook.close)
    wrapt.register_post_import_hook(patch_aiobotocore, "aiobotocore.client")
    return patches


class _BotocoreHook:
    """The hooked functions. The observer of a stream lives as long as the caller's stream object."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._prefixes = {service for service, _ in provider.routes}
        self._observers: WeakKeyDictionary[Any, StreamObserver] = WeakKeyDictionary()

    def call(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = self._begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        if isinstance(call, CallState):
            return _hooks.drive(call, self._settle, wrapped, args, kwargs)
        block, documents = call
        with block as search:
            result = wrapped(*args, **kwargs)
            search.add(documents(result))
        return result

    async def call_async(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = self._begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if isinstance(call, CallState):
            return await _hooks.drive_async(call, self._settle, wrapped, args, kwargs)
        block, documents = call
        with block as search:
            result = await wrapped(*args, **kwargs)
            search.add(documents(result))
        return result

    def _begin(self, client: Any, args: Any, kwargs: Any) -> Any:
        """Return the call or search that an operation is, ``None`` if it is not traced."""
        if not self._patches.active:
            return None
        try:
            arguments = dict(zip(("operation_name", "api_params"), args, strict=False)) | kwargs
            operation_name, api_params = arguments["operation_name"], arguments["api_params"]
            model = client.meta.service_model
            route = model.service_name, operation_name
            wire_format = self._provider.routes.get(route)
            if wire_format is None:
                search = self._provider.searches.get(route)
                if search is None:
                    return None
                source, query, top_k = search.request(api_params)
                return retrieval(source, query=query, top_k=top_k), partial(_documents, search)
            body = _with_parsed_body(api_params)
            request = wire_format.request(body)
            if model.operation_model(operation_name).has_event_stream_output:
                request = replace(request, stream=True)
            url = urlsplit(client.meta.endpoint_url)
            call = _hooks.begin(
                self._services,
                self._provider.name,
                wire_format,
                request,
                provider=self._provider.default_provider,
                server=(url.hostname, url.port or (80 if url.scheme == "http" else 443)) if url.hostname else None,
                body=body,
            )
            if self._services.estimator is not None:
                call.body = body
            call.retries = -1  # the hook counts every attempt, including the first
            return call
        except Exception:
            log_internal_error("begin a call")
            return None

    def _attempt(self, endpoint: Any) -> CallState | None:
        """Count an attempt, and return its call. Credentials may be fetched from other services inside a call."""
        call = _hooks.current_call()
        if call is None or getattr(endpoint, "_endpoint_prefix", None) not in self._prefixes:
            return None
        call.retries += 1
        return call

    def send(self, wrapped: Any, endpoint: Any, args: Any, kwargs: Any) -> Any:
        call = self._attempt(endpoint)
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            if call is not None:
                _hooks.record_failed_attempt(call, error)
            raise

    async def send_async(self, wrapped: Any, endpoint: Any, args: Any, kwargs: Any) -> Any:
        call = self._attempt(endpoint)
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            if call is not None:
                _hooks.record_failed_attempt(call, error)
            raise

    def _settle(self, call: CallState, result: Any) -> None:
        # Hold the metadata only: the observer of a stream must not hold the stream.
        call.http_response = {"ResponseMetadata": get(result, "ResponseMetadata")}
        for name, value in result.items():
            if hasattr(value, "_event_generator"):
                observer = StreamObserver(call, call.make_accumulator())
                if name == "body" and self._provider.unwrap is not None:
                    observer.unwrap(self._provider.unwrap)
                self._observers[value] = observer
                return
            if hasattr(value, "read"):
                observe_reads(call, value)
                return
        call.end(call.read_response(result))

    def iterate(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        observer = self._observers.get(stream)
        events = wrapped(*args, **kwargs)
        return events if observer is None else _observed(events, observer)

    def iterate_async(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        observer = self._observers.get(stream)
        events = wrapped(*args, **kwargs)
        return events if observer is None else _observed_async(events, observer)

    def close(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        observer = self._observers.get(stream)
        if observer is not None:
            notify(observer.on_close)
        return wrapped(*args, **kwargs)


def _with_parsed_body(api_params: Any) -> Any:
    """Return the parameters with the parsed JSON of ``body``. A body to be read from a file is left to botocore."""
    body = get(api_params, "body")
    if not isinstance(body, (str, bytes, bytearray)):
        return api_params
    try:
        return {**api_params, "body": json.loads(body)}
    except (ValueError, RecursionError):
        return {**api_params, "body": None}


def _documents(search: SearchReaders, result: Any) -> list[Any]:
    try:
        return list(search.documents(result))
    except Exception:
        log_internal_error("read the documents of a search")
        return []


def _observed(events: Iterator[Any], observer: StreamObserver) -> Iterator[Any]:
    # A generator, as without llmtrace.
    yield from ObservedIterator(events, observer)


async def _observed_async(events: AsyncIterator[Any], observer: StreamObserver) -> AsyncIterator[Any]:
    async for event in AsyncObservedIterator(events, observer):
        yield event
