"""The point where every call of a Stainless-generated SDK (openai, anthropic) passes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Protocol

import wrapt
from opentelemetry import context as otel
from opentelemetry.trace import Tracer

from .._guard import report
from ..capture.call import Call, current_call, suppressed
from ..capture.raw import Body, EventReader, JsonReader
from ..capture.stream import AsyncChunks, Chunks, Recorder
from ..facts import Response
from .providers import provider_of
from .table import Sdk

__all__ = ["Patches", "Tracing", "patch"]


class Tracing(Protocol):
    """What the hooks need of the set-up."""

    error_messages: bool
    native_spans: str

    def tracer(self, scope: str) -> Tracer: ...


class Patches:
    """What was put where, so that undoing comes from the record of what was done."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []
        self.missing: list[str] = []
        self.active = True

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        original = vars(owner).get(name)
        if original is None:
            self.missing.append(f"{getattr(owner, '__qualname__', owner.__name__)}.{name}")
            return
        patched = wrapt.FunctionWrapper(original, wrapper)
        setattr(owner, name, patched)
        self._done.append((owner, name, original, patched))

    def undo(self) -> None:
        """Put the originals back. Below a foreign wrapper on top the hook stays, and is silent."""
        self.active = False
        for owner, name, original, patched in reversed(self._done):
            if vars(owner).get(name) is patched:
                setattr(owner, name, original)
        self._done.clear()


def patch(sdk: Sdk, module: Any, tracing: Tracing) -> Patches:
    """Hook ``module``, the SDK's ``_base_client``."""
    patches = Patches()
    begin = _Beginner(sdk, tracing, patches).begin

    def request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        token = otel.attach(call.context)
        try:
            result = wrapped(*args, **kwargs)
        except BaseException as error:
            call.leave(token, error)
            _fail(call, error)
            raise
        call.leave(token, None)
        _settle(call, result)
        return result

    async def traced(call: Call, wrapped: Any, args: Any, kwargs: Any) -> Any:
        token = otel.attach(call.context)
        try:
            result = await wrapped(*args, **kwargs)
        except BaseException as error:
            call.leave(token, error)
            _fail(call, error)
            raise
        call.leave(token, None)
        _settle(call, result)
        return result

    async def async_request(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call = begin(client, args, kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        return await traced(call, wrapped, args, kwargs)

    for owner, hook in ((module.SyncAPIClient, request), (module.AsyncAPIClient, async_request)):
        patches.wrap(owner, "request", hook)
        patches.wrap(owner, "_process_response", _process_response)
    if sdk.native is not None and tracing.native_spans == "replace" and hasattr(module, sdk.native):
        patches.wrap(module, sdk.native, _native_span)
    return patches


def _process_response(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    call = current_call()
    if call is not None:
        call.answered(kwargs.get("response"), kwargs.get("retries_taken"))
    return wrapped(*args, **kwargs)


def _native_span(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs) if current_call() is None else None


class _Beginner:
    """Decides whether a request is a call we trace, and opens its span."""

    def __init__(self, sdk: Sdk, tracing: Tracing, patches: Patches) -> None:
        self._sdk = sdk
        self._tracing = tracing
        self._patches = patches
        self._scope = f"llmtrace.{sdk.name}"
        self._usage = sdk.native is None or tracing.native_spans == "replace"
        self._targets: weakref.WeakKeyDictionary[Any, tuple[Any, str, tuple[str, int] | None]] = (
            weakref.WeakKeyDictionary()
        )

    def begin(self, client: Any, args: Any, kwargs: Any) -> Call | None:
        if not self._patches.active:
            return None
        try:
            options = args[1] if len(args) > 1 else kwargs.get("options")
            wire = self._sdk.route(options.method.lower(), options.url)
            if wire is None or suppressed():
                return None
            request = wire.request(_body(options))
            stream = kwargs.get("stream") is True
            if stream is not request.stream:
                request = replace(request, stream=stream)
            provider, server = self._target(client)
            return Call(
                self._tracing.tracer(self._scope),
                wire,
                request,
                provider=provider,
                server=server,
                error_messages=self._tracing.error_messages,
                usage=self._usage,
            )
        except Exception:
            report("begin a call")
            return None

    def _target(self, client: Any) -> tuple[str, tuple[str, int] | None]:
        url = getattr(client, "_base_url", None)
        known = self._targets.get(client)
        if known is not None and known[0] is url:
            return known[1], known[2]
        host = getattr(url, "host", None) or None
        port = getattr(url, "port", None) or (80 if getattr(url, "scheme", "") == "http" else 443)
        found = provider_of(client, host, self._sdk.provider), None if host is None else (host, port)
        self._targets[client] = (url, *found)
        return found


def _body(options: Any) -> Any:
    extra = getattr(options, "extra_json", None)
    body = options.json_data
    return {**body, **extra} if isinstance(extra, dict) and isinstance(body, dict) else body


def _fail(call: Call, error: BaseException) -> None:
    try:
        call.fail(error)
    except Exception:
        report("end a failed call")


def _settle(call: Call, result: Any) -> None:
    """A finished answer ends the call; a stream takes it over."""
    try:
        http = call.http
        if http is not None and (result is http or getattr(result, "__dict__", {}).get("http_response") is http):
            _settle_raw(call, http)
        elif call.request.stream and call.format.events is not None and hasattr(result, "_iterator"):
            _settle_stream(call, result)
        else:
            call.end(call.format.response(result))
    except Exception:
        call.end(Response())
        report("read a response")


def _settle_stream(call: Call, stream: Any) -> None:
    assert call.format.events is not None
    recorder = Recorder(call, call.format.events())
    inner = stream._iterator
    stream._iterator = AsyncChunks(inner, recorder) if hasattr(inner, "__anext__") else Chunks(inner, recorder)
    # A weak reference, as the iterator holds the response: a dropped stream must need no collector because of us.
    http = stream.response
    http.stream = Body(http.stream, EventReader(recorder, _decoder(http)), recorder, weakref.ref(inner))


def _settle_raw(call: Call, http: Any) -> None:
    if http.is_closed and hasattr(http, "_content"):
        reader: Any = JsonReader(call, bytes)
        reader.feed(http.content)
        reader.exhausted()
        return
    decode = _decoder(http)
    if call.request.stream and call.format.events is not None:
        reader = EventReader(Recorder(call, call.format.events()), decode)
    else:
        reader = JsonReader(call, decode)
    http.stream = Body(http.stream, reader)


def _decoder(http: Any) -> Callable[[bytes], bytes]:
    """A second decoder of the kind the response uses for its content encoding (gzip, br, ...)."""
    decode = type(http._get_content_decoder())().decode

    def joined(data: bytes) -> bytes:
        found = decode(data)
        # httpx answers bytes, httpx2 an iterator of them.
        return found if isinstance(found, bytes) else b"".join(found)

    return joined
