"""The points where every request of google-genai passes, and those where it calls the program's own functions."""

from __future__ import annotations

import json
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import wrapt

from .._guard import report
from .._read import peek, text
from ..capture.call import OpenCall
from ..capture.stream import AsyncChunks, Chunks, Recorder
from ..capture.tracing import Tracing
from ..facts import Request, Response
from ..scope import context as scopes
from ..wire._format import Accumulator, WireFormat
from ..wire.google_interactions import INTERACTIONS, RETRIEVE
from . import hooks
from .patches import Patches
from .table import Sdk

__all__ = ["patch"]

_PACKAGE = "google.genai"
_STAINLESS = Sdk(
    name="google_genai",
    module=f"{_PACKAGE}._interactions._base_client",
    supported=">=1.55,<3",
    provider="gcp.gemini",
    posts={"/*/interactions": INTERACTIONS, "/*/projects/*/locations/*/interactions": INTERACTIONS},
    gets={"/*/interactions/*": RETRIEVE, "/*/projects/*/locations/*/interactions/*": RETRIEVE},
)
_SPEAKEASY = replace(
    _STAINLESS, module=f"{_PACKAGE}._gaos.basesdk", supported=">=2,<4", hook="llmtrace.clients.speakeasy"
)
_STREAMED = (
    ("models", "Models", "generate_content_stream"),
    ("models", "AsyncModels", "generate_content_stream"),
    ("chats", "Chat", "send_message_stream"),
    ("chats", "AsyncChat", "send_message_stream"),
)


def patch(sdk: Sdk, module: Any, tracing: Tracing) -> Patches:
    """Hook the modules that ``module``, the SDK's ``client``, has loaded."""
    patches = Patches()
    asked = _Asked(patches)
    for name, owner, function in _STREAMED:
        holder = getattr(_loaded(name), owner, None)
        if holder is not None:
            patches.wrap(holder, function, asked.async_note if owner.startswith("Async") else asked.note)
    client = _loaded("_api_client")
    # The first releases call it ApiClient.
    owner = getattr(client, "BaseApiClient", None) or client.ApiClient
    begin = _Beginner(sdk, tracing, patches).begin
    for name, hook in _requests(begin, asked).items():
        patches.wrap(owner, name, hook)
    for name in ("_request_once", "_async_request_once"):
        if hasattr(owner, name):
            patches.wrap(owner, name, _attempt)
    # The interactions have a client of their own inside the SDK: at first made by Stainless, then by Speakeasy.
    for part in (_STAINLESS, _SPEAKEASY):
        wrapt.register_post_import_hook(_later(part, tracing, patches), part.module)
    return patches


def _loaded(name: str) -> Any:
    return sys.modules.get(f"{_PACKAGE}.{name}")


def _later(part: Sdk, tracing: Tracing, patches: Patches) -> Callable[[Any], None]:
    def imported(module: Any) -> None:
        try:
            if patches.active:
                patches.join(import_module(part.hook).patch(part, module, tracing))
        except Exception:
            report(f"hook {part.module}")

    return imported


def _attempt(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = scopes.current_call()
    if isinstance(call, OpenCall) and call.client == "google_genai":
        call.retries = 0 if call.retries is None else call.retries + 1
    return wrapped(*args, **kwargs)


@dataclass(frozen=True, slots=True)
class _Origin:
    """What was current when a lazy stream was asked for."""

    context: Any
    stream: weakref.ref[Any]


class _Asked:
    """Lazy streams that were asked for, by the frame of the SDK's generator.

    Such a stream sends its requests when it is iterated, perhaps elsewhere, and what is around it then is not what
    the call belongs to. The generator is the caller's and stays as it is: whoever sends a request looks down its own
    stack for the frame.
    """

    def __init__(self, patches: Patches) -> None:
        self._patches = patches
        self._origins: dict[int, _Origin] = {}

    def note(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        stream = wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    async def async_note(self, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        stream = await wrapped(*args, **kwargs)
        self._keep(stream)
        return stream

    def _keep(self, stream: Any) -> None:
        try:
            frame = _frame(stream)
            if frame is None or not self._patches.active:
                return
            key = id(frame)

            def forget(gone: weakref.ref[Any]) -> None:
                origin = self._origins.get(key)
                if origin is not None and origin.stream is gone:
                    del self._origins[key]

            self._origins[key] = _Origin(scopes.current(), weakref.ref(stream, forget))
        except Exception:
            report("note a stream")

    def find(self, frame: FrameType | None) -> _Origin | None:
        """The origin of the outermost stream at work on this stack."""
        found = None
        origins = self._origins
        while frame is not None and origins:
            origin = origins.get(id(frame))
            if origin is not None and _frame(origin.stream()) is frame:
                found = origin
            frame = frame.f_back
        return found


def _frame(stream: Any) -> Any:
    return getattr(stream, "gi_frame", None) or getattr(stream, "ag_frame", None)


_Begin = Callable[..., OpenCall | None]
_END = object()


def _requests(begin: _Begin, asked: _Asked) -> dict[str, Callable[..., Any]]:
    def request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        return hooks.drive(call, _settle, wrapped, args, kwargs)

    async def async_request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        return await hooks.drive_async(call, _settle, wrapped, args, kwargs)

    def request_streamed(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Generator[Any, Any, Any]:
        origin = asked.find(sys._getframe())
        call = begin(client, args, kwargs, origin, stream=True)
        stream = wrapped(*args, **kwargs)
        if call is None:
            yield from stream
            return
        first = hooks.drive(call, _open, next, (stream, _END), {})
        recorder = _recorder(call)
        if first is _END:
            recorder.exhausted()
            return
        recorder.mark(first)
        try:
            yield first
            yield from Chunks(stream, recorder)
        except GeneratorExit:
            _left(recorder, origin)
            raise

    async def async_request_streamed(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        origin = asked.find(sys._getframe())
        call = begin(client, args, kwargs, origin, stream=True)
        if call is None:
            return await wrapped(*args, **kwargs)
        stream = await hooks.drive_async(call, _open, wrapped, args, kwargs)
        return _watched(stream, _recorder(call), origin)

    return {
        "request": request,
        "request_streamed": request_streamed,
        "async_request": async_request,
        "async_request_streamed": async_request_streamed,
    }


async def _watched(stream: Any, recorder: Recorder, origin: _Origin | None) -> AsyncGenerator[Any, None]:
    try:
        async for chunk in AsyncChunks(stream, recorder):
            yield chunk
    except GeneratorExit:
        _left(recorder, origin)
        raise


def _recorder(call: OpenCall) -> Recorder:
    assert call.format.events is not None
    return Recorder(call, _Parsed(call.format.events()))


def _left(recorder: Recorder, origin: _Origin | None) -> None:
    # A generator that is collected is closed too, by a finaliser that must not end spans: then nothing refers to it
    # any more, and the recorder sees to its own end.
    if origin is not None and origin.stream() is not None:
        recorder.closed()
    del recorder


def _open(call: OpenCall, result: Any) -> None:
    """The stream is open; its recorder ends the call."""


def _settle(call: OpenCall, result: Any) -> None:
    try:
        call.end(call.format.response(_json(result)))
    except ValueError:
        call.end(Response())
    except Exception:
        call.end(Response())
        report("read a response")


def _json(result: Any) -> Any:
    """The wire's JSON: newer releases hand it on as text beside the headers, the first ones parsed."""
    if isinstance(result, dict):
        return result
    body = getattr(result, "body", None)
    return json.loads(body) if body else None


class _Parsed:
    """An accumulator that is handed chunks as text."""

    __slots__ = ("_answer",)

    def __init__(self, answer: Accumulator) -> None:
        self._answer = answer

    def add(self, chunk: Any) -> bool:
        return self._answer.add(_json(chunk))

    @property
    def ended(self) -> bool:
        return self._answer.ended

    def result(self) -> Response:
        return self._answer.result()


class _Beginner:
    """Decides whether a request is a call we trace, and opens it."""

    def __init__(self, sdk: Sdk, tracing: Tracing, patches: Patches) -> None:
        self._sdk = sdk
        self._tracing = tracing
        self._patches = patches

    def begin(
        self, client: Any, args: Any, kwargs: Any, origin: _Origin | None = None, *, stream: bool = False
    ) -> OpenCall | None:
        if not self._patches.active:
            return None
        try:
            asked = dict(zip(("http_method", "path", "request_dict", "http_options"), args, strict=False)) | kwargs
            path = asked["path"].partition("?")[0]
            wire = self._sdk.route(asked["http_method"].lower(), _spot(path))
            if wire is None:
                return None
            request = wire.request(_body(client, asked))
            request = replace(request, stream=stream, model=request.model or _model(path))
            if origin is None:
                return self._open(client, wire, request, asked)
            token = scopes.attach(origin.context)
            try:
                return self._open(client, wire, request, asked)
            finally:
                scopes.detach(token, origin.context, origin.context, None)
        except Exception:
            report("begin a call")
            return None

    def _open(self, client: Any, wire: WireFormat, request: Request, asked: dict[str, Any]) -> OpenCall | None:
        url = peek(asked.get("http_options"), "base_url") or peek(client._http_options, "base_url")
        return hooks.begin(
            self._tracing,
            self._sdk.name,
            wire,
            request,
            provider="gcp.vertex_ai" if client.vertexai else self._sdk.provider,
            server=_server(url) if isinstance(url, str) else None,
        )


@lru_cache(maxsize=64)
def _server(url: str) -> tuple[str, int] | None:
    parts = urlsplit(url)
    if parts.hostname is None:
        return None
    return parts.hostname, parts.port or (80 if parts.scheme == "http" else 443)


def _spot(path: str) -> str:
    """What a path is about, as the table has it."""
    verb = path.rfind(":")
    if verb > path.rfind("/"):
        return path[verb:]
    return _within(path)


def _within(path: str) -> str:
    """The part of a resource's name behind project and location."""
    parts = path.split("/", 4)
    return parts[4] if len(parts) == 5 and parts[0] == "projects" and parts[2] == "locations" else path


def _model(path: str) -> str | None:
    verb = path.rfind(":")
    if verb <= path.rfind("/"):
        return None
    name = path[:verb]
    _, named, model = name.rpartition("models/")
    return text({"model": model if named else _within(name)}, "model")


def _body(client: Any, asked: dict[str, Any]) -> Any:
    """What will go over the wire, which the SDK puts together later, in place."""
    body = asked.get("request_dict")
    for options in (client._http_options, asked.get("http_options")):
        extra = peek(options, "extra_body")
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
