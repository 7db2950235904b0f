"""Hook for botocore and aiobotocore, where every call of every AWS service passes one method."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from .._errors import attempt, log_internal_error
from .._read import get
from ..capture.call import CallState
from ..capture.read_body import observe_reads
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from ..context.retrieval import retrieval
from . import _hooks
from ._patches import Patches
from .contract import Provider, SearchReaders
from .hosts import server_of


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, which is ``botocore.client``, and in aiobotocore when it is imported."""
    patches = Patches()
    hook = _BotocoreHook(provider, services, patches)

    def install(into: Patches, package: str, prefix: str, call: Any, iteration: str) -> None:
        modules = sys.modules
        into.wrap_in(modules.get(f"{package}.client"), f"{prefix}BaseClient", "_make_api_call", call)
        into.wrap_in(modules.get(f"{package}.endpoint"), f"{prefix}Endpoint", "_needs_retry", hook.count_attempt)
        into.wrap_in(modules.get(f"{package}.eventstream"), f"{prefix}EventStream", iteration, hook.iterate)

    def install_async(_: Any, part: Patches) -> None:
        install(part, "aiobotocore", "Aio", hook.call_async, "__aiter__")

    install(patches, "botocore", "", hook.call, "__iter__")
    patches.wrap_in(sys.modules.get("botocore.eventstream"), "EventStream", "close", hook.close)
    patches.when_imported("aiobotocore.client", install_async)
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
            block.add(attempt("read the documents of a search", _documents, search, result) or [])
        return result

    async def call_async(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call, search = self._begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if search is None:
            return await _hooks.drive_async(call, self._settle, wrapped, args, kwargs)
        with call as block:
            result = await wrapped(*args, **kwargs)
            block.add(attempt("read the documents of a search", _documents, search, result) or [])
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
            provider, server = self._provider, server_of(client.meta.endpoint_url)
            vendor = provider.default_provider
            return _hooks.begin(self._services, provider, wire_format, request, vendor, server, body), None
        except Exception:
            log_internal_error("begin a call")
            return None, None

    def count_attempt(self, wrapped: Any, endpoint: Any, args: Any, kwargs: Any) -> Any:
        """Record an attempt, after which botocore decides whether to retry."""
        call = _hooks.current_call()
        # Credentials may be fetched from another service inside a call.
        if call is not None and getattr(endpoint, "_endpoint_prefix", None) in self._endpoints:
            try:
                arguments: list[Any] = [*args, *kwargs.values()]
                attempts, _, request, success, error = arguments
                call.retries = attempts - 1
                _hooks.record_failed_attempt(call, error)
                if success is not None and success[0].status_code < 300:
                    sent = SimpleNamespace(content=request["body"])
                    call.http_response = SimpleNamespace(headers=success[0].headers, request=sent)
            except Exception:
                log_internal_error("record an attempt")
        return wrapped(*args, **kwargs)

    def _settle(self, call: CallState, result: Any) -> None:
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
    return list(search.documents(result))


# Generators, as without llmtrace.
def _observe(events: Iterator[Any], observer: StreamObserver) -> Iterator[Any]:
    yield from ObservedIterator(events, observer)


async def _observe_async(events: AsyncIterator[Any], observer: StreamObserver) -> AsyncIterator[Any]:
    async for event in AsyncObservedIterator(events, observer):
        yield event
