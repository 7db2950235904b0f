"""Hooks for the Live API of google-genai: one call per turn of a session, many turns per connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

from ..._compat.websockets import handshake_url
from ..._errors import log_internal_error
from ..._read import get, get_text, iter_list
from ...capture.call import CallState
from ...capture.services import CallServices
from ...capture.stream import StreamObserver
from .._patches import Patches
from .._sessions import Session, SessionHooks
from ..contract import Provider

_PARAMETERS = ("response_modalities", "temperature", "top_p", "top_k", "max_output_tokens", "seed", "thinking_config")
_LIVE_COUNTS = {
    "response_token_count": "candidates_token_count",
    "response_tokens_details": "candidates_tokens_details",
}
"""Names of the counts of a turn, and those of the same counts of ``generateContent``."""


@dataclass(slots=True, kw_only=True)
class _LiveSession(Session):
    """Turns in progress in one session."""

    url: str
    vendor: str | None
    model: str | None
    config: Any
    identifier: str | None
    called_tools: bool = False
    """True if the turn in progress has called a function."""

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


class _Live(SessionHooks[_LiveSession]):
    """The hooked functions, and the sessions that are open."""

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
                self.end(session, StreamObserver.on_close)

    def _describe(self, session: Any, client: Any, options: dict[str, Any]) -> _LiveSession:
        model = get_text(options, "model")
        return _LiveSession(
            url=handshake_url(getattr(session, "_ws", None)),
            vendor="gcp.vertex_ai" if get(get(client, "_api_client"), "vertexai") else None,
            model=None if model is None else model.rpartition("models/")[2],
            config=options.get("config"),
            identifier=get_text(session, "session_id"),
        )

    async def receive(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        try:
            message = await wrapped(*args, **kwargs)
        except Exception as error:
            self.end(session, methodcaller("on_error", error))
            raise
        self.read(session, message)
        return message

    async def close(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        self.end(session, StreamObserver.on_close)
        return await wrapped(*args, **kwargs)

    async def send_content(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        if not kwargs.get("turn_complete", True):
            return await wrapped(*args, **kwargs)
        turns = kwargs.get("turns")
        contents = turns if isinstance(turns, list) else [] if turns is None else [turns]
        return await self._request(wrapped, session, args, kwargs, contents)

    async def send_tool_response(self, wrapped: Any, session: Any, args: Any, kwargs: Any) -> Any:
        live = self.find(session)
        if live is not None and live.called_tools and (turn := live.active.get(None)) is not None:
            # The model waits for the results, so what follows is another generation.
            turn.observer.add({"candidates": [{"finishReason": "STOP"}]})
            live.end_turn()
        results = kwargs.get("function_responses")
        parts = [{"functionResponse": each} for each in (results if isinstance(results, list) else [results])]
        return await self._request(wrapped, session, args, kwargs, [{"role": "user", "parts": parts}])

    async def _request(self, wrapped: Any, session: Any, args: Any, kwargs: Any, contents: list[Any]) -> Any:
        """Send a message that requests a turn."""
        live = self.find(session)
        call = None if live is None else self._open(live, contents)
        return await self.send_async(live, call, None, wrapped, args, kwargs)

    def _open(self, live: _LiveSession, contents: list[Any]) -> CallState | None:
        try:
            body = live.body(contents)
            call = self.open("CONNECT", "live", body, base=live.url, vendor=live.vendor, model=live.model)
            if call is not None:
                call.body = None  # without the earlier turns: its tokens cannot be estimated
                if live.identifier is not None:
                    call.set_session(live.identifier)
            return call
        except Exception:
            log_internal_error("begin a call")
            return None

    def on_event(self, session: _LiveSession, event: Any) -> None:
        """Pass a message of the server to its turn."""
        content, tool_call = get(event, "server_content"), get(event, "tool_call")
        usage, turn = get(event, "usage_metadata"), session.active.get(None)
        if turn is None:
            started = tool_call is not None or usage is not None or any(get(content, name) for name in _STARTS)
            # A turn without a request starts when the server has detected speech.
            turn = self.start(session, partial(self._open, session, [])) if started else None
            session.called_tools = False
        if turn is None:
            return
        turn.observer.on_chunk(_as_chunk(content, tool_call, usage))
        session.called_tools = session.called_tools or tool_call is not None
        if get(content, "turn_complete"):
            session.end_turn()


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
