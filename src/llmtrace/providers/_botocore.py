"""Hook for botocore and aiobotocore, where every call of every AWS service passes one method."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

from .._errors import log_internal_error
from ..capture.call import CallState
from ..capture.read_body import observe_reads
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from . import _hooks
from ._patches import Patches
from ._requests import RequestedSearch, call_hooks
from .bedrock.invoke import parse_body, unwrap
from .contract import Provider
from .hosts import server_of


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in ``module``, which is ``botocore.client``, and in aiobotocore when it is imported."""
    patches = Patches()
    hook = _BotocoreHook(provider, services, patches)
    call, call_async = call_hooks(hook.begin, hook.settle)

    def install(
        package: str, prefix: str, api_call: Any, iteration: str, _: Any = None, into: Patches = patches
    ) -> None:
        into.wrap_in(sys.modules.get(f"{package}.client"), f"{prefix}BaseClient", "_make_api_call", api_call)
        into.wrap_in(sys.modules.get(f"{package}.endpoint"), f"{prefix}Endpoint", "_needs_retry", hook.count_attempt)
        into.wrap_in(sys.modules.get(f"{package}.eventstream"), f"{prefix}EventStream", iteration, hook.iterate)

    install("botocore", "", call, "__iter__")
    patches.wrap_in(sys.modules.get("botocore.eventstream"), "EventStream", "close", hook.close)
    patches.when_imported("aiobotocore.client", partial(install, "aiobotocore", "Aio", call_async, "__aiter__"))
    return patches


@dataclass(slots=True, eq=False)
class _BotocoreHook:
    """The hooked functions. The observer of a stream lives as long as the caller's stream object."""

    _provider: Provider
    _services: CallServices
    _patches: Patches
    _observers: WeakKeyDictionary[Any, StreamObserver] = field(default_factory=WeakKeyDictionary)

    def begin(self, client: Any, args: Any, kwargs: Any) -> CallState | RequestedSearch | None:
        """Return the call or the search of an operation, or ``None`` if it is not traced. Never raises."""
        try:
            arguments = dict(zip(("operation_name", "api_params"), args, strict=False)) | kwargs
            operation, body = arguments["operation_name"], arguments["api_params"]
            model, provider = client.meta.service_model, self._provider
            route = model.service_name, operation
            if not self._patches.active:
                return None
            if (search := provider.searches.get(route)) is not None:
                return RequestedSearch(search, body)
            if (wire_format := provider.routes.get(route)) is None:
                return None
            body = parse_body(body)
            request = wire_format.request(body)
            request.stream = request.stream or model.operation_model(operation).has_event_stream_output
            server = server_of(client.meta.endpoint_url)
            return _hooks.begin(self._services, provider, wire_format, request, provider.default_provider, server, body)
        except Exception:
            log_internal_error("begin a call")
            return None

    def count_attempt(self, wrapped: Any, endpoint: Any, args: Any, kwargs: Any) -> Any:
        """Record an attempt, after which botocore decides whether to retry."""
        call, service = _hooks.current_call(), getattr(endpoint, "_endpoint_prefix", None)
        # Credentials may be fetched from another service inside a call.
        if call is not None and any(service == traced for traced, _ in self._provider.routes):
            try:
                attempts, _, request, success, error = list(args) + list(kwargs.values())
                call.retries = attempts - 1
                _hooks.record_failed_attempt(call, error)
                if success is not None and success[0].status_code < 300:
                    sent = SimpleNamespace(content=request["body"])
                    call.http_response = SimpleNamespace(headers=success[0].headers, request=sent)
            except Exception:
                log_internal_error("record an attempt")
        return wrapped(*args, **kwargs)

    def settle(self, call: CallState, result: Any) -> None:
        for name, value in result.items():
            if hasattr(value, "_event_generator"):
                self._observers[value] = observer = StreamObserver(call, call.make_accumulator())
                if name == "body":
                    observer.unwrap(unwrap)
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


# Generators, as without llmtrace.
def _observe(events: Iterator[Any], observer: StreamObserver) -> Iterator[Any]:
    yield from ObservedIterator(events, observer)


async def _observe_async(events: AsyncIterator[Any], observer: StreamObserver) -> AsyncIterator[Any]:
    async for event in AsyncObservedIterator(events, observer):
        yield event
