"""Steps of the hooks in libraries that are written by hand: open a call by its route, and read lazy streams."""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, TypeVar

from .._errors import log_internal_error
from ..capture.call import CallState
from ..capture.error_body import error_code
from ..capture.http_body import observe_body
from ..capture.services import CallServices
from ..capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from ..context import state as context_state
from ..context.retrieval import retrieval
from ..model import Response
from . import _hooks
from .contract import Provider, SearchReaders, fetched_id
from .hosts import provider_of, server_of

_END = object()
_Chunks = TypeVar("_Chunks", ObservedIterator, AsyncObservedIterator)
Prepare = Callable[[CallState, Any, Any], tuple[Any, Any]]


def open_call(  # noqa: PLR0913 - one argument for each part of a request
    provider: Provider,
    services: CallServices,
    method: str,
    path: str,
    body: Any,
    *,
    base: Any,
    stream: bool = False,
    context: Any = None,
    vendor: str | None = None,
    model: str | None = None,
) -> CallState | None:
    """Open the call of a request, or return ``None`` if the provider has no route for it. Never raises.

    ``base`` is the address of the server, as text or as a parsed URL, and ``context`` the OpenTelemetry context of the
    caller, if it is not the current one. ``vendor`` is the value of ``gen_ai.provider.name`` where the host identifies
    none, if it is not the provider's, and ``model`` the model, if the body does not have it.
    """
    try:
        wire_format = provider.route(method, path)
        if wire_format is None:
            return None
        server = server_of(base)
        request = wire_format.request(body)
        request.stream = stream
        if request.operation == "fetch_response":
            request.response_id = fetched_id(path)
        request.model = request.model or model
        name = provider_of(None, server and server[0], vendor or provider.default_provider)
        token = None if context is None else context_state.attach(context)
        try:
            return _hooks.begin(services, provider, wire_format, request, name, server, body)
        finally:
            if token is not None:
                context_state.detach(token, context, context, None)
    except Exception:
        log_internal_error("begin a call")
        return None


class RequestedSearch:
    """A search that a request makes. It calls no model."""

    def __init__(self, readers: SearchReaders, body: Any) -> None:
        source, query, top_k = readers.request(body)
        self._block = retrieval(source, query=query, top_k=top_k)
        self._documents = readers.documents

    def run(self, wrapped: Any, args: Any, kwargs: Any) -> Any:
        """Call ``wrapped`` inside a retrieval, and record the documents of its result."""
        with self._block as search:
            result = wrapped(*args, **kwargs)
            search.add(self._read(result))
        return result

    async def run_async(self, wrapped: Any, args: Any, kwargs: Any) -> Any:
        """Await ``wrapped`` inside a retrieval, and record the documents of its result."""
        with self._block as search:
            result = await wrapped(*args, **kwargs)
            search.add(self._read(result))
        return result

    def _read(self, result: Any) -> Iterator[object]:
        yield from self._documents(result)


def call_hooks(
    begin: Callable[[Any, Any, Any], CallState | RequestedSearch | None],
    settle: _hooks.Settle,
    prepare: Prepare | None = None,
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the hooks of a function that sends a request, and of its asynchronous twin.

    ``begin`` opens the call, ``prepare`` changes the arguments that are passed on, ``settle`` ends the call.
    """

    def request(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(instance, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        if isinstance(call, RequestedSearch):
            return call.run(wrapped, args, kwargs)
        if prepare is not None:
            args, kwargs = prepare(call, args, kwargs)
        return _hooks.drive(call, settle, wrapped, args, kwargs)

    async def request_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        call = begin(instance, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        if isinstance(call, RequestedSearch):
            return await call.run_async(wrapped, args, kwargs)
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

    ``unwrap`` is a function from an item of the stream to the chunk inside.
    """

    def observe(call: CallState) -> StreamObserver:
        observer = StreamObserver(call, call.make_accumulator())
        if unwrap is not None:
            observer.unwrap(unwrap)
        return observer

    try:
        held: list[weakref.ref[Any]] = []
        reader: Any = _read_async if hasattr(stream, "__anext__") else read_stream
        made = reader(stream, begin, observe, lambda: held[0]() is not None)
        made.__name__, made.__qualname__ = stream.__name__, stream.__qualname__
        held.append(weakref.ref(made))
        return made
    except Exception:
        log_internal_error("observe a stream")
        return stream


def read_stream(
    stream: Any,
    begin: Callable[[], CallState | None],
    observe: Callable[[CallState], StreamObserver],
    is_held: Callable[[], bool],
) -> Generator[Any, Any, None]:
    """Read a stream whose first ``next`` sends the request.

    ``observe`` makes the observer of the call's stream. ``is_held`` returns True while the caller holds the stream, so
    that it was closed and not dropped.
    """
    call = begin()
    if call is None:
        yield from stream
        return
    first = _hooks.drive(call, leave_open, next, (stream, _END), {})
    chunks = _observe(ObservedIterator, stream, call, first, observe)
    if first is _END:
        return
    try:
        yield first
        yield from stream if chunks is None else chunks
    except GeneratorExit:
        _on_exit(chunks, is_held)
        stream.close()
        raise


async def _read_async(
    stream: Any,
    begin: Callable[[], CallState | None],
    observe: Callable[[CallState], StreamObserver],
    is_held: Callable[[], bool],
) -> AsyncGenerator[Any, None]:
    call = begin()
    if call is None:
        async for chunk in stream:
            yield chunk
        return
    first = await _hooks.drive_async(call, leave_open, anext, (stream, _END), {})
    chunks = _observe(AsyncObservedIterator, stream, call, first, observe)
    if first is _END:
        return
    try:
        yield first
        async for chunk in stream if chunks is None else chunks:
            yield chunk
    except GeneratorExit:
        _on_exit(chunks, is_held)
        await stream.aclose()
        raise


def _observe(
    iterator: type[_Chunks], stream: Any, call: CallState, first: Any, observe: Callable[[CallState], StreamObserver]
) -> _Chunks | None:
    """Return an observed iterator over a stream after its first chunk, or ``None`` if it cannot be read."""
    try:
        observer = observe(call)
        chunks = iterator(stream, observer)
        if first is _END:
            observer.on_exhausted()
        else:
            observer.on_chunk(first)
        return chunks
    except Exception:
        _hooks.end_without_response(call)
        log_internal_error("read a response")
        return None


def _on_exit(chunks: ObservedIterator | AsyncObservedIterator | None, is_held: Callable[[], bool]) -> None:
    """Report a close only while the caller holds the stream: garbage collection closes a generator too.

    It does so in a finalizer, which must not end spans. The observer reports the drop itself.
    """
    if chunks is not None and is_held():
        notify(chunks._observer.on_close)
