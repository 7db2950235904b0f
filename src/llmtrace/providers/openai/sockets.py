"""Hooks for the WebSocket connections of the openai SDK: one call per response, many responses per connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..._compat.websockets import handshake_url
from ..._errors import log_internal_error
from ..._read import get, get_count, get_text
from ...capture.call import CallState
from ...capture.error_body import read_error
from ...capture.services import CallServices
from ...capture.stream import StreamObserver
from ...model import Response
from .._patches import Patches
from .._sessions import Session, SessionHooks, Turn
from ..contract import Provider
from .socket_events import REALTIME, RESPONSES, SocketFormat, read_create, read_transcription

_ENDS = frozenset(
    {"response.completed", "response.failed", "response.incomplete", "response.cancelled", "response.done", "error"}
)
_MAX_ENDED = 8
"""Number of ended responses and transcriptions that are remembered: an event that is parsed twice starts no call."""


@dataclass(slots=True, kw_only=True)
class _SocketSession(Session):
    """Responses in progress on one connection."""

    format: SocketFormat
    url: str
    model: str | None
    """Model in the URL of the connection."""
    described: Any = None
    """Latest event with the settings of the session, as the server describes them."""
    ended: deque[str | None] = field(default_factory=lambda: deque(maxlen=_MAX_ENDED))

    @property
    def settings(self) -> Any:
        """Settings of the session, ``None`` if the server has described none."""
        return get(self.described, "session")

    def take(self, event: Any) -> Turn | None:
        """Remove and return the request that an event of the server belongs to."""
        turn = next((turn for turn in self.waiting if self.format.accepts(event, turn.request)), None)
        if turn is not None:
            self.waiting.remove(turn)
        return turn


def _reject(turn: Turn, event: Any) -> None:
    """End a call whose request the server refused: the response never started."""
    turn.observer.finished = True
    turn.call.end(Response(error=read_error(event) or "error", failed=True, http_status=get_count(event, "status")))


_MODULES = {
    "openai.resources.responses.responses": ("ResponsesConnection", RESPONSES),
    "openai.resources.beta.responses.responses": ("ResponsesConnection", RESPONSES),
    "openai.resources.realtime.realtime": ("RealtimeConnection", REALTIME),
    "openai.resources.beta.realtime.realtime": ("RealtimeConnection", REALTIME),
}


def hook_sockets(provider: Provider, services: CallServices, patches: Patches) -> None:
    """Install the hooks when the SDK imports the modules of its connections. Older releases have none."""
    sockets = _Sockets(provider, services, patches)
    for module, (name, socket_format) in _MODULES.items():
        patches.when_imported(module, partial(sockets.hook, name, socket_format))


class _Sockets(SessionHooks[_SocketSession]):
    """The hooked functions, and the sessions of all connections."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        super().__init__(provider, services, patches)
        self._formats: dict[type, SocketFormat] = {}
        self._hooked: set[tuple[type, str]] = set()

    def hook(self, name: str, socket_format: SocketFormat, module: Any, patches: Patches) -> None:
        """Install the hooks in the sync and the async connection of a module."""
        for cls, send, receive in (
            (getattr(module, name, None), self._send, self._receive),
            (getattr(module, f"Async{name}", None), self._send_async, self._receive_async),
        ):
            if cls is not None:
                self._formats[cls] = socket_format
                self._hook(cls, send, receive, patches)

    def _hook(self, cls: type, send: Any, receive: Any, patches: Patches) -> None:
        hooks = {"send_raw": send, "recv_bytes": receive, "parse_event": self._parse, "close": self._close}
        if _owner(cls, "send_raw") in (None, cls):  # ``send`` of older releases does not call ``send_raw``
            hooks["send"] = send
        for name, hook in hooks.items():
            owner = _owner(cls, name)
            if owner is not None and (owner, name) not in self._hooked:  # connections share their base class
                self._hooked.add((owner, name))
                patches.wrap(owner, name, hook)

    def _send(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        return self.send(*self._requested(connection, args, kwargs), wrapped, args, kwargs)

    async def _send_async(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        return await self.send_async(*self._requested(connection, args, kwargs), wrapped, args, kwargs)

    def _receive(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            self._lose(connection, error)
            raise

    async def _receive_async(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        try:
            return await wrapped(*args, **kwargs)
        except Exception as error:
            self._lose(connection, error)
            raise

    def _parse(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        event = wrapped(*args, **kwargs)
        self.read(connection, event)
        return event

    def _close(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        self.end(connection, StreamObserver.on_close)
        return wrapped(*args, **kwargs)

    def _lose(self, connection: Any, error: Exception) -> None:
        """End the responses in progress on a connection that is lost. Others than its errors leave it open."""
        names = {cls.__name__ for cls in type(error).__mro__}
        if "ConnectionClosedOK" in names:  # the caller receives the end of its loop
            self.end(connection, StreamObserver.on_exhausted)
        elif "ConnectionClosed" in names:
            self.end(connection, lambda observer: observer.on_error(error))

    def describe(self, client: Any) -> _SocketSession | None:
        """Return the new session of a connection."""
        socket_format = next((self._formats[cls] for cls in type(client).__mro__ if cls in self._formats), None)
        if socket_format is None:
            return None
        url = handshake_url(getattr(client, "_connection", None))
        query = dict(parse_qsl(urlsplit(url).query))
        return _SocketSession(format=socket_format, url=url, model=query.get("model") or query.get("deployment"))

    def _requested(
        self, connection: Any, args: Any, kwargs: Any
    ) -> tuple[_SocketSession | None, CallState | None, Any]:
        """Open a call if the message of a client requests a response. Never raises."""
        try:
            event = read_create(args[0] if args else next(iter(kwargs.values())))
            session = None if event is None else self.find(connection)
            return session, None if session is None else self._open(session, event), event
        except Exception:
            log_internal_error("begin a call")
            return None, None, None

    def _open(self, session: _SocketSession, event: Any) -> CallState | None:
        """Open the call of a ``response.create`` event, or of a response that the server started."""
        model = session.model or get_text(session.settings, "model")
        body = session.format.body(session.settings, event)
        return self.open("CONNECT", session.format.path, body, base=session.url, model=model)

    def on_event(self, session: _SocketSession, event: Any) -> None:
        """Pass an event of the server to its response."""
        kind, lane = get(event, "type"), session.format.lane(event)
        if (transcription := read_transcription(session.settings, event)) is not None:
            self._record(session, get_text(event, "item_id"), *transcription)
            return
        turn = session.active.get(lane)
        # An error inside a response has no HTTP status.
        refusal = kind == "error" and (turn is None or get(event, "status") is not None)
        if refusal and (rejected := session.take(event)) is not None:
            _reject(rejected, event)
        elif turn is not None or (turn := self._start(session, event, kind)) is not None:
            session.active[lane] = turn
            turn.observer.on_chunk(event)
            if kind in _ENDS:
                session.ended.append(get_text(get(event, "response"), "id"))
                session.end_turn(lane)

    def _record(self, session: _SocketSession, item: str | None, request: Any, response: Any) -> None:
        """Record the transcription of an item, which another model has made."""
        if item in session.ended:
            return
        session.ended.append(item)
        call = self.open("CONNECT", "/realtime/transcription", request, base=session.url, stream=False)
        if call is not None:
            call.end(call.read_response(response))

    def _start(self, session: _SocketSession, event: Any, kind: Any) -> Turn | None:
        """Return the response that an event starts, with or without a request."""
        response = get(event, "response")
        if response is None:
            if get(event, "session") is not None:
                session.described = event
            return None
        if (identifier := get_text(response, "id")) is not None and identifier in session.ended:
            return None
        turn = session.take(event)
        if turn is None and kind == "response.created" and (call := self._open(session, response)) is not None:
            call.body = None  # without the input: its tokens cannot be estimated
            turn = Turn(call)
        if turn is not None and session.described is not None:
            turn.observer.add(session.described)
            if (identifier := get_text(session.settings, "id")) is not None:
                turn.call.set_session(identifier)
        return turn


def _owner(cls: type, name: str) -> type | None:
    return next((owner for owner in cls.__mro__ if name in vars(owner)), None)
