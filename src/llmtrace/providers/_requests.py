"""Steps of the hooks in libraries that are written by hand: open a call by its route, and read lazy streams."""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any
from urllib.parse import urlsplit

from .._errors import log_internal_error
from ..capture.call import CallState
from ..capture.error_body import error_code
from ..capture.http_body import observe_body
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from ..context import state as context_state
from ..model import Response
from . import _hooks
from .contract import Provider
from .hosts import provider_of, server_of

__all__ = ["call_hooks", "end_with", "end_with_http", "lazy_stream", "leave_open", "open_call"]

_END = object()


def open_call(  # noqa: PLR0913 - one argument for each part of a request
    provider: Provider,
    services: CallServices,
    method: str,
    path: str,
    body: Any,
    *,
    base: str,
    stream: bool = False,
    context: Any = None,
    vendor: str | None = None,
    model: str | None = None,
) -> CallState | None:
    """Open the call of a request, or return ``None`` if it is not traced. Never raises.

    Args:
        provider: The provider, whose routes decide.
        services: What the call uses.
        method: The HTTP method.
        path: The path, which decides the wire format.
        body: The JSON body.
        base: The address of the server.
        stream: True if the response is a stream.
        context: The OpenTelemetry context of the caller, if it is not the current one.
        vendor: The value of ``gen_ai.provider.name`` where the host identifies none, if it is not the provider's.
        model: The model, if the body does not have it.
    """
    try:
        wire_format = provider.route(method, path)
        if wire_format is None:
            return None
        server = server_of(urlsplit(base))
        request = wire_format.request(body)
        request.stream = stream
        request.model = request.model or model
        name = provider_of(None, server and server[0], vendor or provider.default_provider)
        token = None if context is None else context_state.attach(context)
        try:
            call = _hooks.begin(services, provider.name, wire_format, request, provider=name, server=server, body=body)
        finally:
            if token is not None:
                context_state.detach(token, context, context, None)
        return call
    except Exception:
        log_internal_error("begin a call")
        return None


def call_hooks(
    begin: Callable[[Any, Any, Any], CallState | None],
    settle: _hooks.Settle,
    prepare: Callable[[CallState, Any, Any], tuple[Any, Any]] | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the hooks of a function that sends a request, and of its asynchronous twin.

    Args:
        begin: Function from the instance and the arguments to the call, ``None`` if it is not traced.
        settle: Function that ends the call with the result.
        prepare: Function from the call and the arguments to those that the library gets.
    """

    def request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(instance, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        if prepare is not None:
            args, kwargs = prepare(call, args, kwargs)
        return _hooks.drive(call, settle, wrapped, args, kwargs)

    async def request_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(instance, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if prepare is not None:
            args, kwargs = prepare(call, args, kwargs)
        return await _hooks.drive_async(call, settle, wrapped, args, kwargs)

    return request, request_async


def end_with(call: CallState, result: Any) -> None:
    """End the call with a complete response."""
    call.end(call.read_response(result))


def end_with_http(call: CallState, http_response: Any) -> None:
    """End the call with an HTTP response, or when the library has read its body."""
    call.http_response = http_response
    if http_response.status_code >= 400:
        # End the call here: the library raises its exception later, outside our hooks.
        call.end(Response(failed=True, http_status=http_response.status_code, error=_read_error_code(http_response)))
    else:
        observe_body(call, http_response)


def _read_error_code(http_response: Any) -> str | None:
    try:
        return error_code(json.loads(http_response.content))
    except Exception as error:  # the body is not read yet, or is not JSON
        del error
        return None


def leave_open(call: CallState, result: Any) -> None:
    """Leave the call open: the observer of its stream ends it."""


def lazy_stream(stream: Any, begin: Callable[[], CallState | None], unwrap: Callable[[Any], Any] | None = None) -> Any:
    """Return a generator of the same kind as ``stream``, which begins the call when it is first advanced.

    Args:
        stream: A generator of the library that sends its request when it is first advanced.
        begin: Function that opens the call.
        unwrap: Function from an item of the stream to the chunk inside.
    """
    try:
        held: list[weakref.ref[Any]] = []
        reader: Any = _read_async if hasattr(stream, "__anext__") else _read
        made = reader(stream, begin, held, unwrap)
        made.__name__, made.__qualname__ = stream.__name__, stream.__qualname__
        held.append(weakref.ref(made))
        return made
    except Exception:
        log_internal_error("observe a stream")
        return stream


def _read(
    stream: Any, begin: Callable[[], CallState | None], held: list[weakref.ref[Any]], unwrap: Any
) -> Generator[Any, Any, None]:
    call = begin()
    if call is None:
        yield from stream
        return
    first = _hooks.drive(call, leave_open, next, (stream, _END), {})
    observer = _observer(call, first, unwrap)
    if first is _END:
        return
    try:
        yield first
        yield from stream if observer is None else ObservedIterator(stream, observer)
    except GeneratorExit:
        _on_exit(observer, held)
        stream.close()
        raise


async def _read_async(
    stream: Any, begin: Callable[[], CallState | None], held: list[weakref.ref[Any]], unwrap: Any
) -> AsyncGenerator[Any, None]:
    call = begin()
    if call is None:
        async for chunk in stream:
            yield chunk
        return
    first = await _hooks.drive_async(call, leave_open, anext, (stream, _END), {})
    observer = _observer(call, first, unwrap)
    if first is _END:
        return
    try:
        yield first
        async for chunk in stream if observer is None else AsyncObservedIterator(stream, observer):
            yield chunk
    except GeneratorExit:
        _on_exit(observer, held)
        await stream.aclose()
        raise


def _observer(call: CallState, first: Any, unwrap: Any) -> StreamObserver | None:
    """Return the observer of a stream after its first chunk, or ``None`` if it cannot be read."""
    try:
        observer = StreamObserver(call, call.make_accumulator())
        if unwrap is not None:
            observer.unwrap(unwrap)
        if first is _END:
            observer.on_exhausted()
        else:
            observer.on_chunk(first)
        return observer
    except Exception:
        _hooks.end_without_response(call)
        log_internal_error("read a response")
        return None


def _on_exit(observer: StreamObserver | None, held: list[weakref.ref[Any]]) -> None:
    """Report a close only while the caller holds the stream. The observer reports that it was dropped itself."""
    if observer is not None and held and held[0]() is not None:
        notify(observer.on_close)
