"""Hook for botocore and aiobotocore, where every call of every AWS service passes one method."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
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

    def patch_package(package: str, prefix: str, *hooks: tuple[str, str, str, Any]) -> None:
        for part, owner, name, wrapper in hooks:
            patches.wrap_in(sys.modules.get(f"{package}.{part}"), prefix + owner, name, wrapper)

    def patch_aiobotocore(_: Any) -> None:
        try:
            if patches.active:
                patch_package(
                    "aiobotocore",
                    "Aio",
                    ("client", "BaseClient", "_make_api_call", hook.call_async),
                    ("endpoint", "Endpoint", "_needs_retry", hook.count_attempt),
                    ("eventstream", "EventStream", "__aiter__", hook.iterate),
                )
        except Exception:
            log_internal_error("hook aiobotocore.client")

    patch_package(
        "botocore",
        "",
        ("client", "BaseClient", "_make_api_call", hook.call),
        ("endpoint", "Endpoint", "_needs_retry", hook.count_attempt),
        ("eventstream", "EventStream", "__iter__", hook.iterate),
        ("eventstream", "EventStream", "close", hook.close),
    )
    wrapt.register_post_import_hook(patch_aiobotocore, "aiobotocore.client")
    return patches


class _BotocoreHook:
    """The hooked functions. The observer of a stream lives as long as the caller's stream object."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._endpoints = {service for service, _ in provider.routes}
        self._observers: WeakKeyDictionary[Any, StreamObserver] = WeakKeyDictionary()

    def call(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call, search = self._begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        if search is None:
            return _hooks.drive(call, self._settle, wrapped, args, kwargs)
        with call as block:
            result = wrapped(*args, **kwargs)
            block.add(_documents(search, result))
        return result

    async def call_async(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call, search = self._begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if search is None:
            return await _hooks.drive_async(call, self._settle, wrapped, args, kwargs)
        with call as block:
            result = await wrapped(*args, **kwargs)
            block.add(_documents(search, result))
        return result

    def _begin(self, client: Any, args: Any, kwargs: Any) -> tuple[Any, SearchReaders | None]:
        """Return the call, or the block of a search and its readers; ``None`` if the operation is not traced."""
        try:
            arguments = dict(zip(("operation_name", "api_params"), args, strict=False)) | kwargs
            operation, body = arguments["operation_name"], arguments["api_params"]
            model = client.meta.service_model
            route = model.service_name, operation
            if not self._patches.active:
                return None, None
            if (search := self._provider.searches.get(route)) is not None:
                source, query, top_k = search.request(body)
                return retrieval(source, query=query, top_k=top_k), search
            if (wire_format := self._provider.routes.get(route)) is None:
                return None, None
            body = _with_parsed_body(body)
            request = wire_format.request(body)
            if model.operation_model(operation).has_event_stream_output:
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
            return call, None
        except Exception:
            log_internal_error("begin a call")
            return None, None

    def count_attempt(self, wrapped: Any, endpoint: Any, args: Any, kwargs: Any) -> Any:
        """Count the attempts of a call. Credentials may be fetched from another service in the meantime."""
        call = _hooks.current_call()
        if call is not None and getattr(endpoint, "_endpoint_prefix", None) in self._endpoints and args:
            call.retries = args[0] - 1
            error = args[4] if len(args) > 4 else kwargs.get("caught_exception")
            _hooks.record_failed_attempt(call, error)
        return wrapped(*args, **kwargs)

    def _settle(self, call: CallState, result: Any) -> None:
        # Hold the metadata only: the observer of a stream must not hold the stream.
        call.http_response = {"ResponseMetadata": get(result, "ResponseMetadata")}
        for name, value in result.items():
            if hasattr(value, "_event_generator"):
                self._observers[value] = observer = StreamObserver(call, call.make_accumulator())
                if name == "body" and self._provider.unwrap is not None:
                    observer.unwrap(self._provider.unwrap)
                return
            if hasattr(value, "read"):
                observe_reads(call, value)
                return
        call.end(call.read_response(result))

    def iterate(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        observer, events = self._observers.get(stream), wrapped(*args, **kwargs)
        if observer is None:
            return events
        return (_observe_async if hasattr(events, "__anext__") else _observe)(events, observer)

    def close(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        if (observer := self._observers.get(stream)) is not None:
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


# Generators, as without llmtrace.
def _observe(events: Iterator[Any], observer: StreamObserver) -> Iterator[Any]:
    yield from ObservedIterator(events, observer)


async def _observe_async(events: AsyncIterator[Any], observer: StreamObserver) -> AsyncIterator[Any]:
    async for event in AsyncObservedIterator(events, observer):
        yield event
