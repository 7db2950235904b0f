"""The ``huggingface_hub`` client library: its inference clients."""

from __future__ import annotations

import json
import weakref
from functools import partial
from typing import Any

from ..._errors import log_internal_error
from ...capture import worker
from ...capture.call import CallState
from ...capture.http_body import SseParser
from ...capture.services import CallServices
from ...capture.stream import StreamObserver, notify
from .. import CHAT, Provider, Response, _hooks, named
from .._patches import Patches
from .._requests import end_with, leave_open, open_call
from .text_generation import FEATURE_EXTRACTION, TEXT_GENERATION

_PARSERS = tuple(
    f"{kind}_stream_{task}_response" for kind in ("", "_async") for task in ("chat_completion", "text_generation")
)
"""Functions that make the caller's stream of the lines of a response."""


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks in the clients in ``module``, the package ``inference``, when they are imported."""
    patches = Patches()

    def begin(args: Any, kwargs: Any) -> CallState | None:
        parameters = args[0] if args else kwargs.get("request_parameters")
        return _begin(provider, services, parameters, stream=_streams(kwargs)) if patches.active else None

    def post(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call, stream = begin(args, kwargs), _streams(kwargs)
        if call is None:
            return wrapped(*args, **kwargs)
        result = _hooks.drive(call, leave_open if stream else _settle, wrapped, args, kwargs)
        return _observed(call, result, _Lines) if stream else result

    async def post_async(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        call, stream = begin(args, kwargs), _streams(kwargs)
        if call is None:
            return await wrapped(*args, **kwargs)
        result = await _hooks.drive_async(call, leave_open if stream else _settle, wrapped, args, kwargs)
        return _observed(call, result, _AsyncLines) if stream else result

    for name, owner, hook in (
        ("_client", "InferenceClient", post),
        ("_generated._async_client", "AsyncInferenceClient", post_async),
    ):
        patches.when_imported(f"{module.__name__}.{name}", partial(_hook_client, owner, hook))
    return patches


def _hook_client(owner: str, hook: Any, module: Any, patches: Patches) -> None:
    """Install the hooks in the client of a module: a program may use only one of them."""
    patches.wrap_in(module, owner, "_inner_post", hook)
    for name in _PARSERS:
        if hasattr(module, name):
            patches.wrap(module, name, _note_holder)


def _streams(kwargs: Any) -> bool:
    return kwargs.get("stream") is True


def _begin(provider: Provider, services: CallServices, parameters: Any, *, stream: bool) -> CallState | None:
    try:
        body, task, url = parameters.json, parameters.task, parameters.url
        if isinstance(body, dict) and "messages" in body:
            task = "conversational"  # which the first releases call text generation
        if isinstance(body, dict) and not body.get("model") and "://" not in (parameters.model or ""):
            body = {**body, "model": parameters.model}
    except Exception:
        log_internal_error("begin a call")
        return None
    return open_call(provider, services, "POST", task, body, base=url, stream=stream)


def _settle(call: CallState, result: Any) -> None:
    try:
        body = json.loads(result)
    except (ValueError, RecursionError):  # which the library raises later
        call.end(Response())
    else:
        end_with(call, body)


def _observed(call: CallState, lines: Any, kind: type[_Lines | _AsyncLines]) -> Any:
    try:
        return kind(lines, SseParser(StreamObserver(call, call.make_accumulator()), bytes))
    except Exception:
        _hooks.end_without_response(call)
        log_internal_error("read a response")
        return lines


def _note_holder(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    stream = wrapped(*args, **kwargs)
    if args and isinstance(args[0], (_Lines, _AsyncLines)):
        args[0].holder = weakref.ref(stream)
    return stream


class _ObservedLines:
    """Lines of a response, which the library parses into the caller's stream."""

    def __init__(self, inner: Any, parser: SseParser) -> None:
        self._inner = inner
        self._parser = parser
        self.holder: weakref.ref[Any] | None = None
        """The caller's stream, which stops to read lines when it is closed or dropped."""

    def _feed(self, line: Any) -> None:
        data = line.encode() if isinstance(line, str) else bytes(line)
        self._parser.feed(data + b"\n\n")
        if data.strip() == b"data: [DONE]":
            self._parser.on_exhausted()

    def __del__(self) -> None:
        holder = getattr(self, "holder", None)
        if holder is not None and holder() is not None:
            notify(worker.submit, self._parser.on_close)


class _Lines(_ObservedLines):
    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> Any:
        try:
            line = next(self._inner)
        except StopIteration:
            notify(self._parser.on_exhausted)
            raise
        except BaseException as error:
            notify(self._parser.on_error, error)
            raise
        notify(self._feed, line)
        return line


class _AsyncLines(_ObservedLines):
    def __aiter__(self) -> _AsyncLines:
        return self

    async def __anext__(self) -> Any:
        try:
            line = await anext(self._inner)
        except StopAsyncIteration:
            notify(self._parser.on_exhausted)
            raise
        except BaseException as error:
            notify(self._parser.on_error, error)
            raise
        notify(self._feed, line)
        return line


HUGGING_FACE = Provider(
    name="hugging_face",
    distribution="huggingface_hub",
    module="huggingface_hub.inference",
    supported=">=0.30,<3",
    hook=patch,
    # The library names a task and leaves the path to the helper of each provider.
    routes=named(
        "hugging_face",
        {
            ("POST", "conversational"): ("chat_completion", CHAT),
            ("POST", "text-generation"): ("text_generation", TEXT_GENERATION),
            ("POST", "feature-extraction"): ("feature_extraction", FEATURE_EXTRACTION),
        },
    ),
)
