"""Hooks for the Live API of google-genai: one call per turn of a session, many turns per connection."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from operator import methodcaller
from typing import Any
from weakref import WeakKeyDictionary

from ..._compat.websockets import handshake_uri
from ..._errors import log_internal_error
from ..._read import get, get_text, iter_list
from ...capture.call import CallState
from ...capture.services import CallServices
from ...capture.stream import StreamObserver, notify
from .. import _hooks
from .._patches import Patches
from .._requests import leave_open
from ..contract import Provider
from .generate import GENERATE

__all__ = ["hook_live"]

_FORMAT = replace(GENERATE, api="google_genai.live.connect")
_PARAMETERS = ("response_modalities", "temperature", "top_p", "top_k", "max_output_tokens", "seed", "thinking_config")
_LIVE_COUNTS = {
    "response_token_count": "candidates_token_count",
    "response_tokens_details": "candidates_tokens_details",
}
"""Names of the counts of a turn, and those of the same counts of ``generateContent``."""


@dataclass(slots=True)
class _LiveSession:
    """Turns in progress in one session. It does not hold the SDK's session: dropping that ends them."""

    provider: str
    server: tuple[str, int] | None
    model: str | None
    config: Any
    identifier: str | None
    waiting: list[StreamObserver] = field(default_factory=list)
    """Turns that were requested and have not started."""
    active: StreamObserver | None = None
    called_tools: bool = False
    """True if the turn in progress has called a function."""

    def end(self, step: Callable[[StreamObserver], object]) -> None:
        """End all turns with ``step``."""
        turns = [*self.waiting] if self.active is None else [self.active, *self.waiting]
        self.waiting.clear()
        self.active, self.called_tools = None, False
        for observer in turns:
            notify(step, observer)

    def end_turn(self) -> None:
        """End the turn in progress, whose last message was read."""
        observer, self.active, self.called_tools = self.active, None, False
        if observer is not None:
            observer.on_exhausted()

    def body(self, contents: Any) -> dict[str, Any]:
        """Return a request in the form of ``generateContent``, with the configuration of the session."""
        source = get(self.config, "generation_config")
        parameters = {
            name: value
            for name in _PARAMETERS
            if (value := get(self.config, name)) is not None or (value := get(source, name)) is not None
        }
        instruction = get(self.config, "system_instruction")
        if isinstance(instruction, str):
            instruction = {"parts": [{"text": instruction}]}
        return {"contents": contents, "generationConfig": parameters, "systemInstruction": instruction}


def hook_live(provider: Provider, services: CallServices, patches: Patches) -> None:
    """Install the hooks when the SDK imports its module of live sessions."""
    live = _Live(provider, services, patches)

    def hook(module: Any, part: Patches) -> None:
        for owner, name, wrapper in (
            ("AsyncLive", "connect", live.connect),
            ("AsyncSession", "_receive", live.receive),
            ("AsyncSession", "close", live.close),
            ("AsyncSession", "send_client_content", live.send_content),
            ("AsyncSession", "send_tool_response", live.send_tool_response),
        ):
            cls = getattr(module, owner, None)
            if cls is not None and name in vars(cls):  # the first releases have one method
                part.wrap(cls, name, wrapper)

    patches.when_imported("google.genai.live", hook)


class _Live:
    """The hooked functions, and the sessions that are open."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._sessions: WeakKeyDictionary[Any, _LiveSession] = WeakKeyDictionary()

    def connect(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        manager = wrapped(*args, **kwargs)
        return self._connected(manager, client, kwargs) if self._patches.active else manager

    @asynccontextmanager
    async def _connected(
        self, manager: AbstractAsyncContextManager[Any], client: Any, options: dict[str, Any]
    ) -> AsyncIterator[Any]:
        async with manager as session:
            try:
                self._sessions[session] = self._describe(session, client, options)
            except Exception:
                log_internal_error("describe a live session")
            try:
                yield session
            finally:
                self._end(session, StreamObserver.on_close)

    def _describe(self, session: Any, client: Any, options: dict[str, Any]) -> _LiveSession:
        uri = handshake_uri(getattr(session, "_ws", None))
        host, model = getattr(uri, "host", None), get_text(options, "model")
        vertex = get(get(client, "_api_client"), "vertexai")
        return _LiveSession(
            "gcp.vertex_ai" if vertex else self._provider.default_provider,
            None if host is None else (host, uri.port),
            None if model is None else model.rpartition("models/")[2],
            options.get("config"),
            get_text(session, "session_id"),
        )

    async def receive(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        try:
            message = await wrapped(*args, **kwargs)
        except Exception as error:
            self._end(session, methodcaller("on_error", error))
            raise
        try:
            if (live := self._sessions.get(session)) is not None:
                self._on_message(live, message)
        except Exception:
            log_internal_error("read a message")
        return message

    async def close(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        self._end(session, StreamObserver.on_close)
        return await wrapped(*args, **kwargs)

    async def send_content(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        if kwargs.get("turn_complete", True):
            turns = kwargs.get("turns")
            contents = turns if isinstance(turns, list) else [] if turns is None else [turns]
            return await self._request(wrapped, session, args, kwargs, contents)
        return await wrapped(*args, **kwargs)

    async def send_tool_response(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        try:
            live = self._sessions.get(session)
            if live is not None and live.active is not None and live.called_tools:
                # The model waits for the results, so what follows is another generation.
                live.active.add({"candidates": [{"finishReason": "STOP"}]})
                live.end_turn()
            results = kwargs.get("function_responses")
            parts = [{"functionResponse": each} for each in (results if isinstance(results, list) else [results])]
        except Exception:
            log_internal_error("end a turn")
            return await wrapped(*args, **kwargs)
        return await self._request(wrapped, session, args, kwargs, [{"role": "user", "parts": parts}])

    async def _request(self, wrapped: Any, session: Any, args: Any, kwargs: Any, contents: list[Any]) -> Any:
        """Send a message that requests a turn."""
        live, call = self._sessions.get(session), None
        if live is not None and self._patches.active:
            call = self._open(live, contents)
        if live is None or call is None:
            return await wrapped(*args, **kwargs)
        expected: list[StreamObserver] = []

        def send(*args: Any, **kwargs: Any) -> Any:
            try:
                expected.append(StreamObserver(call, call.make_accumulator()))
                live.waiting += expected
            except Exception:
                log_internal_error("expect a turn")
            return wrapped(*args, **kwargs)

        try:
            return await _hooks.drive_async(call, leave_open, send, args, kwargs)
        except BaseException:
            for observer in expected:
                observer.finished = True
                if observer in live.waiting:
                    live.waiting.remove(observer)
            raise

    def _open(self, live: _LiveSession, contents: list[Any]) -> CallState | None:
        try:
            body = live.body(contents)
            request = _FORMAT.request(body)
            request.model, request.stream = live.model, True
            call = _hooks.begin(self._services, self._provider, _FORMAT, request, live.provider, live.server, body)
            call.body = None  # it is not sent in this form
            if live.identifier is not None:
                call.set_session(live.identifier)
            return call
        except Exception:
            log_internal_error("begin a call")
            return None

    def _on_message(self, live: _LiveSession, message: Any) -> None:
        content, tool_call = get(message, "server_content"), get(message, "tool_call")
        usage = get(message, "usage_metadata")
        if live.active is None:
            started = tool_call is not None or usage is not None or any(get(content, name) for name in _STARTS)
            if not started:
                return
            if live.waiting:
                live.active = live.waiting.pop(0)
            elif (call := self._open(live, [])) is not None:  # the server has detected speech
                live.active = StreamObserver(call, call.make_accumulator())
        if live.active is not None:
            live.active.on_chunk(_as_chunk(content, tool_call, usage))
        live.called_tools = live.called_tools or tool_call is not None
        if get(content, "turn_complete"):
            live.end_turn()

    def _end(self, session: Any, step: Callable[[StreamObserver], object]) -> None:
        try:
            live = self._sessions.get(session)
            if live is not None:
                live.end(step)
        except Exception:
            log_internal_error("end the turns of a session")


_STARTS = ("model_turn", "output_transcription", "generation_complete", "turn_complete")
"""Fields of the content of a message that belong to a turn of the model."""


def _as_chunk(content: Any, tool_call: Any, usage: Any) -> dict[str, Any]:
    """Return a message in the form of a chunk of ``generateContent``."""
    parts = [*iter_list(get(content, "model_turn"), "parts")]
    if (transcript := get_text(get(content, "output_transcription"), "text")) is not None:
        parts.append({"text": transcript})
    parts += [{"functionCall": call} for call in iter_list(tool_call, "function_calls")]
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": parts}}
    if (grounding := get(content, "grounding_metadata")) is not None:
        candidate["groundingMetadata"] = grounding
    if get(content, "turn_complete"):
        candidate["finishReason"] = get(content, "turn_complete_reason") or "STOP"
    chunk: dict[str, Any] = {"candidates": [candidate]}
    if usage is not None:
        chunk["usageMetadata"] = {
            _LIVE_COUNTS.get(name, name): value
            for name, value in {**getattr(usage, "__dict__", {})}.items()
            if value is not None
        }
    return chunk
