"""The points where every request of google-genai passes, and those where it calls the program's own functions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import lru_cache
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

import wrapt

from ..._errors import log_internal_error
from ..._read import get, get_text
from ...capture import worker
from ...capture.call import OpenCall
from ...capture.services import CallServices
from ...capture.stream import AsyncObservedIterator, ObservedIterator, StreamObserver, notify
from ...context import state as scopes
from ...context.operations import CalledTool
from ...model import Request, Response
from ...model.wire_format import Accumulator, WireFormat
from .. import _hooks
from .._deferred import DeferredStreams, Origin
from .._patches import Patches
from ..registry import Sdk
from .interactions import INTERACTIONS, RETRIEVE

__all__ = ["accumulator", "patch"]

_PACKAGE = "google.genai"
_CREATE = replace(INTERACTIONS, api="google_genai.interactions.create")
_GET = replace(RETRIEVE, api="google_genai.interactions.get")
_CANCEL = replace(RETRIEVE, api="google_genai.interactions.cancel")
_STAINLESS = Sdk(
    name="google_genai",
    module=f"{_PACKAGE}._interactions._base_client",
    supported=">=1.55,<3",
    provider="gcp.gemini",
    posts={
        **dict.fromkeys(("/*/interactions", "/*/projects/*/locations/*/interactions"), _CREATE),
        **dict.fromkeys(("/*/interactions/*/cancel", "/*/projects/*/locations/*/interactions/*/cancel"), _CANCEL),
    },
    gets=dict.fromkeys(("/*/interactions/*", "/*/projects/*/locations/*/interactions/*"), _GET),
)
_SPEAKEASY = replace(
    _STAINLESS, module=f"{_PACKAGE}._gaos.basesdk", supported=">=2,<4", hook="llmtrace.providers._speakeasy"
)
_STREAMED = (
    ("models", "Models", "generate_content_stream"),
    ("models", "AsyncModels", "generate_content_stream"),
    ("chats", "Chat", "send_message_stream"),
    ("chats", "AsyncChat", "send_message_stream"),
)


def patch(sdk: Sdk, module: Any, tracing: CallServices) -> Patches:
    """Hook the modules that ``module``, the SDK's ``client``, has loaded."""
    patches = Patches()
    asked = DeferredStreams(patches)
    for name, owner, function in _STREAMED:
        holder = getattr(_loaded(name), owner, None)
        if holder is not None:
            patches.wrap(holder, function, asked.remember_async if owner.startswith("Async") else asked.remember)
    module = _loaded("_api_client")
    # The first releases call it ApiClient.
    owner = "BaseApiClient" if hasattr(module, "BaseApiClient") else "ApiClient"
    begin = _GoogleCallFactory(sdk, tracing, patches).begin
    for name, hook in _requests(begin, asked).items():
        patches.wrap_in(module, owner, name, hook)
    for name, hook in (("_request_once", _attempt), ("_async_request_once", _async_attempt)):
        if hasattr(getattr(module, owner, None), name):
            patches.wrap_in(module, owner, name, hook)
    models, kinds = _loaded("models"), _loaded("types")
    for place, name, hook in (
        *_tools(sdk, patches, asked),
        (models, "_GenerateContentResponse_from_mldev", _reading),
        (models, "_GenerateContentResponse_from_vertex", _reading),
        (getattr(kinds, "GenerateContentResponse", None), "_from_response", _reading),
    ):
        if place is not None and name in vars(place):
            patches.wrap(place, name, hook)
    # The interactions have a client of their own inside the SDK: at first made by Stainless, then by Speakeasy.
    for part in (_STAINLESS, _SPEAKEASY):
        wrapt.register_post_import_hook(_patch_on_import(part, tracing, patches), part.module)
    return patches


def _loaded(name: str) -> Any:
    return sys.modules.get(f"{_PACKAGE}.{name}")


def _patch_on_import(part: Sdk, tracing: CallServices, patches: Patches) -> Callable[[Any], None]:
    def imported(module: Any) -> None:
        try:
            if patches.active:
                patches.join(import_module(part.hook).patch(part, module, tracing))
        except Exception:
            log_internal_error(f"hook {part.module}")

    return imported


def _attempt(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _counted()
    if call is None:
        return wrapped(*args, **kwargs)
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        _hooks.note_failed_attempt(call, error)
        raise


async def _async_attempt(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = _counted()
    if call is None:
        return await wrapped(*args, **kwargs)
    try:
        return await wrapped(*args, **kwargs)
    except Exception as error:
        _hooks.note_failed_attempt(call, error)
        raise


def _counted() -> OpenCall | None:
    """Return the call that an attempt belongs to, with the attempt counted."""
    call = _hooks.current_call()
    if call is None or call.client != "google_genai":
        return None
    call.retries += 1
    return call


_Begin = Callable[..., OpenCall | None]
_END = object()


def _requests(begin: _Begin, asked: DeferredStreams) -> dict[str, Callable[..., Any]]:
    def request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        return _hooks.drive(call, _settle, wrapped, args, kwargs)

    async def async_request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        return await _hooks.drive_async(call, _settle, wrapped, args, kwargs)

    def request_streamed(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
        origin = asked.find(sys._getframe())
        call = begin(client, args, kwargs, origin, stream=True)
        stream = wrapped(*args, **kwargs)
        if call is None:
            yield from stream
            return
        # Only its number: a frame that is held here would hold this generator.
        yield from _read(call, stream, origin, id(sys._getframe().f_back))

    async def async_request_streamed(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        origin = asked.find(sys._getframe())
        call = begin(client, args, kwargs, origin, stream=True)
        if call is None:
            return await wrapped(*args, **kwargs)
        stream = await _hooks.drive_async(call, _open, wrapped, args, kwargs)
        try:
            return _ObservedStream(stream, StreamObserver(call, accumulator(call)), origin)
        except Exception:
            _hooks.end_without_answer(call)
            log_internal_error("read a response")
            return stream

    return {
        "request": request,
        "request_streamed": request_streamed,
        "async_request": async_request,
        "async_request_streamed": async_request_streamed,
    }


def _tools(sdk: Sdk, patches: Patches, asked: DeferredStreams) -> list[tuple[Any, str, Callable[..., Any]]]:
    """Where automatic function calling calls the program's functions, and MCP servers: what, its name, the hook."""

    def tool_of(read: Callable[..., tuple[Any, Any]], args: Any, kwargs: Any) -> CalledTool | None:
        try:
            if not patches.active or scopes.suppressed(scopes.current()):
                return None
            name, arguments = read(*args, **kwargs)
            origin = asked.find(sys._getframe())
            called = name if isinstance(name, str) and name else "unknown"
            return CalledTool(called, arguments, sdk.name, None if origin is None else origin.context)
        except Exception:
            log_internal_error("begin a tool")
            return None

    def invoke(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        tool = tool_of(_function, args, kwargs)
        return wrapped(*args, **kwargs) if tool is None else tool.run(wrapped, args, kwargs)

    async def invoke_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        tool = tool_of(_function, args, kwargs)
        return await (wrapped(*args, **kwargs) if tool is None else tool.run_async(wrapped, args, kwargs))

    async def call_tool(wrapped: Any, adapter: Any, args: Any, kwargs: Any) -> Any:
        tool = tool_of(_function_call, args, kwargs)
        return await (wrapped(*args, **kwargs) if tool is None else tool.run_async(wrapped, args, kwargs))

    functions = _loaded("_extra_utils")
    return [
        (functions, "get_function_response_parts_async", asked.propagate),
        (functions, "invoke_function_from_dict_args", invoke),
        (functions, "invoke_function_from_dict_args_async", invoke_async),
        (getattr(_loaded("_adapters"), "McpToGenAiToolAdapter", None), "call_tool", call_tool),
    ]


def _function(args: Any = None, function_to_invoke: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
    return getattr(function_to_invoke, "__name__", None), args


def _function_call(function_call: Any = None, *_: Any, **__: Any) -> tuple[Any, Any]:
    return get(function_call, "name"), get(function_call, "args")


_readers: WeakValueDictionary[int, StreamObserver] = WeakValueDictionary()
"""Recorders of open streams, by the id of the SDK's frame that reads them."""


def _reading(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Record that the SDK could not read a chunk: the caller gets the exception, and our hooks below only an end."""
    try:
        return wrapped(*args, **kwargs)
    except Exception as error:
        try:
            frame = sys._getframe(1)
            recorder = _readers.get(id(frame))
            if recorder is None:  # an asynchronous stream is a variable of the frame
                recorder = getattr(frame.f_locals.get("response_stream"), "_recorder", None)
            if isinstance(recorder, StreamObserver):
                recorder.on_error(error)
        except Exception:
            log_internal_error("end a failed call")
        raise


def _read(call: OpenCall, stream: Any, origin: Origin | None, reader: int) -> Generator[Any, Any, None]:
    # The request goes out with the first step.
    first = _hooks.drive(call, _open, next, (stream, _END), {})
    chunks = _observed(call, stream, first, reader)
    if chunks is None:
        if first is not _END:
            yield first
            yield from stream
        return
    try:
        yield first
        yield from chunks
    except GeneratorExit:
        # A generator that is collected is closed too, by a finaliser that must not end spans: then nothing refers to
        # the caller's stream any more, and the recorder sees to its own end.
        if _is_held(origin):
            notify(chunks._recorder.on_close)
        raise


def _observed(call: OpenCall, stream: Any, first: Any, reader: int) -> ObservedIterator | None:
    """Return what observes ``stream`` after its ``first`` chunk; ``None`` where there is nothing left to observe."""
    try:
        recorder = StreamObserver(call, accumulator(call))
        if first is _END:
            recorder.on_exhausted()
            return None
        _readers[reader] = recorder
        recorder.on_chunk(first)
        return ObservedIterator(stream, recorder)
    except Exception:
        _hooks.end_without_answer(call)
        log_internal_error("read a response")
        return None


class _ObservedStream(AsyncObservedIterator):
    """Is dropped at once where the SDK's generators wait for the event loop to close them."""

    __slots__ = ("_origin",)

    def __init__(self, inner: Any, recorder: StreamObserver, origin: Origin | None) -> None:
        super().__init__(inner, recorder)
        self._origin = origin

    def __del__(self) -> None:
        notify(self._end)

    def _end(self) -> None:
        if not self._recorder.finished and _is_held(self._origin):
            worker.submit(self._recorder.on_close)


def _is_held(origin: Origin | None) -> bool:
    """Whether the caller still has the stream, so that it was closed and not dropped."""
    try:
        return origin is not None and origin.stream() is not None
    except Exception:
        log_internal_error("find the stream of a call")
        return False


def _open(call: OpenCall, result: Any) -> None:
    """The stream is open; its recorder ends the call."""


def _settle(call: OpenCall, result: Any) -> None:
    try:
        call.http_response = result
        answer = call.read_response(_json(result))
    except ValueError as error:  # the SDK will raise as much, out of our sight
        call.request_sent = True
        call.fail(error)
    else:
        call.end(answer)


def _json(result: Any) -> Any:
    """The wire's JSON: newer releases hand it on as text beside the headers, the first ones parsed."""
    if isinstance(result, dict):
        return result
    body = getattr(result, "body", None)
    try:
        return json.loads(body) if body else None
    except RecursionError:  # nested deeper than anybody reads
        return None


def accumulator(call: OpenCall) -> Accumulator:
    """What folds the chunks of ``call`` as the SDK hands them on."""
    return (_JsonAccumulator if call.content is not None else _ShapeCache)(call.make_accumulator(), call)


class _JsonAccumulator:
    """An accumulator that is handed chunks as text."""

    __slots__ = ("_answer", "_call")

    def __init__(self, answer: Accumulator, call: OpenCall | None = None) -> None:
        self._answer = answer
        self._call = call

    def add(self, chunk: Any) -> bool:
        if self._call is not None:
            # Every chunk carries the headers of the answer.
            self._call.http_response, self._call = chunk, None
        return self._answer.add(_json(chunk))

    @property
    def ended(self) -> bool:
        return self._answer.ended

    def result(self) -> Response:
        return self._answer.result()


class _ShapeCache(_JsonAccumulator):
    """The same, where nobody wants the words: of chunks alike but for words and counts the last is read."""

    __slots__ = ("_alike", "_last", "_shapes")

    def __init__(self, answer: Accumulator, call: OpenCall | None = None) -> None:
        super().__init__(answer, call)
        self._last: Any = None
        self._alike: re.Pattern[str] | None = None
        self._shapes = 0

    def add(self, chunk: Any) -> bool:
        body = getattr(chunk, "body", None)
        if self._alike is not None and type(body) is str and self._alike.fullmatch(body):
            self._last = chunk
            return True
        self._read_last()
        spoke = super().add(chunk)
        self._alike = None
        if spoke and type(body) is str and self._shapes < _MAX_SHAPES:
            self._shapes += 1
            self._alike = _shape_of(body)
        return spoke

    def _read_last(self) -> None:
        if self._last is not None:
            last, self._last = self._last, None
            super().add(last)

    @property
    def ended(self) -> bool:
        self._read_last()
        return super().ended

    def result(self) -> Response:
        self._read_last()
        return super().result()


_MAX_SHAPES = 8
"""In one stream. Each takes as long to learn as a few chunks to read."""
_MAX_CHUNK_CHARS = 2048
"""Characters of a shape. A picture, or the signature of a thought, is like no other, and would take long to learn."""
_JSON_STRING = r'(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))'
_TEXT, _NAME, _COUNT = rf'"{_JSON_STRING}*+"', rf'"{_JSON_STRING}++"', r"[1-9][0-9]{0,13}+"
_VARIABLE = re.compile(rf'"(?:(text": *){_TEXT}|(responseId": *){_NAME}|(\w*Count": *){_COUNT})')
_compiled = lru_cache(maxsize=64)(re.compile)


def _shape_of(body: str) -> re.Pattern[str] | None:
    """What matches a chunk of the same fields and values, but for its texts, its id and its counts.

    Of these the last holds. A count of zero is part of the shape, as it erases none before it. Other numbers tell
    chunks apart: which candidate ended, and what was searched for, add up.
    """
    pattern, end = "", 0
    for found in _VARIABLE.finditer(body):
        text, name, count = found.groups()
        fixed = f'{body[end : found.start()]}"{text or name or count}'
        if len(pattern) + len(fixed) > _MAX_CHUNK_CHARS:
            return None
        pattern += re.escape(fixed) + (_COUNT if count else _NAME if name else _TEXT)
        end = found.end()
    if len(pattern) + len(body) - end > _MAX_CHUNK_CHARS:
        return None
    return _compiled(pattern + re.escape(body[end:]))


class _GoogleCallFactory:
    """Decides whether a request is a call we trace, and opens it."""

    def __init__(self, sdk: Sdk, tracing: CallServices, patches: Patches) -> None:
        self._sdk = sdk
        self._tracing = tracing
        self._patches = patches

    def begin(
        self, client: Any, args: Any, kwargs: Any, origin: Origin | None = None, *, stream: bool = False
    ) -> OpenCall | None:
        if not self._patches.active:
            return None
        try:
            asked = dict(zip(("http_method", "path", "request_dict", "http_options"), args, strict=False)) | kwargs
            path = asked["path"].partition("?")[0]
            wire = self._sdk.route(asked["http_method"].lower(), _route_key(path))
            if wire is None:
                return None
            body = _body(client, asked)
            request = wire.request(body)
            request = replace(request, stream=stream, model=request.model or _model(path))
            if origin is None:
                return self._open(client, wire, request, asked, body)
            token = scopes.attach(origin.context)
            try:
                return self._open(client, wire, request, asked, body)
            finally:
                scopes.detach(token, origin.context, origin.context, None)
        except Exception:
            log_internal_error("begin a call")
            return None

    def _open(self, client: Any, wire: WireFormat, request: Request, asked: dict[str, Any], body: Any) -> OpenCall:
        url = get(asked.get("http_options"), "base_url") or get(client._http_options, "base_url")
        call = _hooks.begin(
            self._tracing,
            self._sdk.name,
            wire,
            request,
            provider="gcp.vertex_ai" if client.vertexai else self._sdk.provider,
            server=_server(url) if isinstance(url, str) else None,
            body=body,
        )
        call.body = body
        if hasattr(client, "_request_once"):
            call.retries = -1  # every attempt counts, the first too
        return call


@lru_cache(maxsize=64)
def _server(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    if parts.hostname is None:
        return None
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


def _route_key(path: str) -> str:
    """What a path is about, as the table has it."""
    verb = path.rfind(":")
    if verb > path.rfind("/"):
        return path[verb:]
    return _strip_project(path)


def _strip_project(path: str) -> str:
    """The part of a resource's name behind project and location."""
    parts = path.split("/", 4)
    return parts[4] if len(parts) == 5 and parts[0] == "projects" and parts[2] == "locations" else path


def _model(path: str) -> str | None:
    verb = path.rfind(":")
    if verb <= path.rfind("/"):
        return None
    name = path[:verb]
    _, named, model = name.rpartition("models/")
    return get_text({"model": model if named else _strip_project(name)}, "model")


def _body(client: Any, asked: dict[str, Any]) -> Any:
    """What will go over the wire, which the SDK puts together later, in place."""
    body = asked.get("request_dict")
    for options in (client._http_options, asked.get("http_options")):
        extra = get(options, "extra_body")
        if isinstance(extra, dict) and isinstance(body, dict):
            body = _merged(body, extra)
    return body


def _merged(into: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    merged = {**into, **extra}
    for key, value in extra.items():
        below = into.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _merged(below, value)
    return merged
