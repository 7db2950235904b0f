"""Hooks for the WebSocket connections of the openai SDK: one call per response, many responses per connection."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

from ..._compat.websockets import handshake_uri
from ..._errors import log_internal_error
from ..._read import as_mapping, get, get_count, get_text
from ...capture.call import CallState
from ...capture.error_body import read_error
from ...capture.services import CallServices
from ...capture.stream import StreamObserver, notify
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .. import _hooks
from .._patches import Patches
from .._requests import leave_open
from ..contract import Provider
from ..hosts import provider_of
from .realtime import REALTIME, merge_settings
from .responses import RESPONSES

__all__ = ["hook_sockets"]

_CREATE = "response.create"
_ENDS = frozenset(
    {"response.completed", "response.failed", "response.incomplete", "response.cancelled", "response.done"}
)
_ENVELOPE = frozenset({"type", "event_id", "stream_id"})
_MAX_ENDED = 8
"""Number of ended responses that are remembered: an event that is parsed a second time starts no call."""


@dataclass(slots=True)
class _Turn:
    """One response, from its request to its last event."""

    call: CallState
    observer: StreamObserver
    request: Any
    """The ``response.create`` event, ``None`` for a response that the server started."""


@dataclass(frozen=True, slots=True)
class _SocketFormat:
    """Properties of one of the APIs that are served over WebSockets."""

    wire_format: WireFormat
    body: Callable[[Any, Any], dict[str, Any]]
    """Function from the settings of the session and a ``response.create`` event to the body of the request. In place
    of the event it may get a response that the server started."""
    lane: Callable[[Any], Any]
    """Function from an event to what all events of one response have in common."""
    accepts: Callable[[Any, Any], bool]
    """True if an event starts the response to a request, or rejects the request. Both arguments are events."""


@dataclass(slots=True)
class _SocketSession:
    """Responses in progress on one connection. It does not hold the connection: dropping that ends them."""

    format: _SocketFormat
    provider: str
    server: tuple[str, int] | None
    model: str | None
    """Model in the URL of the connection."""
    described: Any = None
    """Latest event with the settings of the session, as the server describes them."""
    waiting: list[_Turn] = field(default_factory=list)
    """Requests whose response has not started, in the order in which they were sent."""
    active: dict[Any, _Turn] = field(default_factory=dict)
    """Responses in progress by their lane."""
    ended: deque[str | None] = field(default_factory=lambda: deque(maxlen=_MAX_ENDED))

    @property
    def settings(self) -> Any:
        """Settings of the session, ``None`` if the server has described none."""
        return get(self.described, "session")

    def end(self, step: Callable[[StreamObserver], object]) -> None:
        """End all responses in progress with ``step``."""
        turns = [*self.active.values(), *self.waiting]
        self.active.clear()
        self.waiting.clear()
        for turn in turns:
            notify(step, turn.observer)

    def take(self, event: Any) -> _Turn | None:
        """Remove and return the request that an event of the server belongs to."""
        turn = next((turn for turn in self.waiting if self.format.accepts(event, turn.request)), None)
        if turn is not None:
            self.waiting.remove(turn)
        return turn

    def on_event(self, event: Any, start: Callable[[_SocketSession, Any], _Turn]) -> None:
        """Pass an event of the server to its response; ``start`` begins one without a request."""
        kind = get(event, "type")
        lane = self.format.lane(event)
        turn = self.active.get(lane)
        # An error inside a response has no HTTP status.
        refusal = kind == "error" and (turn is None or get(event, "status") is not None)
        if refusal and (rejected := self.take(event)) is not None:
            _reject(rejected, event)
            return
        if turn is None:
            turn = self._start(event, kind, start)
            if turn is None:
                return
            self.active[lane] = turn
        turn.observer.on_chunk(event)
        if kind in _ENDS or kind == "error":
            del self.active[lane]
            self.ended.append(get_text(get(event, "response"), "id"))
            turn.observer.on_exhausted()

    def _start(self, event: Any, kind: Any, start: Callable[[_SocketSession, Any], _Turn]) -> _Turn | None:
        response = get(event, "response")
        if response is None:
            if get(event, "session") is not None:
                self.described = event
            return None
        if (identifier := get_text(response, "id")) is not None and identifier in self.ended:
            return None
        turn = self.take(event)
        if turn is None and kind == "response.created":
            turn = start(self, response)
        if turn is not None and self.described is not None:
            turn.observer.add(self.described)
            if (session := get_text(self.settings, "id")) is not None:
                turn.call.set_session(session)
        return turn


def _reject(turn: _Turn, event: Any) -> None:
    """End a call whose request the server refused: the response never started."""
    turn.observer.finished = True
    turn.call.end(Response(error=read_error(event) or "error", failed=True, http_status=get_count(event, "status")))


def _same_lane(event: Any, request: Any) -> bool:
    return get_text(event, "stream_id") == get_text(request, "stream_id")


def _without_envelope(_: Any, event: Any) -> dict[str, Any]:
    return {name: value for name, value in as_mapping(event).items() if name not in _ENVELOPE}


def _response_id(event: Any) -> str | None:
    return get_text(event, "response_id") or get_text(get(event, "response"), "id")


def _same_request(event: Any, request: Any) -> bool:
    """Return True if an event of a realtime session starts the response to a request, or rejects the request."""
    error = get(event, "error")
    if error is None:
        metadata = get(get(request, "response"), "metadata")
        return not metadata or metadata == get(get(event, "response"), "metadata")
    own, cause = get_text(request, "event_id"), get_text(error, "event_id")
    if own is not None or cause is not None:
        return own == cause
    # Without ids the error may be that of another event, such as an empty audio buffer.
    parameter, code = get_text(error, "param") or "", get_text(error, "code") or ""
    return parameter.startswith("response") or (not parameter and not code.startswith(_OTHER_ERRORS))


_OTHER_ERRORS = ("input_audio_", "output_audio_", "item_", "conversation_item_", "session_")
"""Prefixes of the error codes of events that request no response."""
_RESPONSES = _SocketFormat(
    replace(RESPONSES, api="openai.responses.connect"),
    body=_without_envelope,
    lane=lambda event: get_text(event, "stream_id"),
    accepts=_same_lane,
)
_REALTIME = _SocketFormat(REALTIME, body=merge_settings, lane=_response_id, accepts=_same_request)
_MODULES = {
    "openai.resources.responses.responses": ("ResponsesConnection", _RESPONSES),
    "openai.resources.beta.responses.responses": ("ResponsesConnection", _RESPONSES),
    "openai.resources.realtime.realtime": ("RealtimeConnection", _REALTIME),
    "openai.resources.beta.realtime.realtime": ("RealtimeConnection", _REALTIME),
}


def hook_sockets(provider: Provider, services: CallServices, patches: Patches) -> None:
    """Install the hooks when the SDK imports the modules of its connections. Older releases have none."""
    sockets = _Sockets(provider, services, patches)
    for module, (name, socket_format) in _MODULES.items():
        patches.when_imported(module, partial(sockets.hook, name, socket_format))


class _Sockets:
    """The hooked functions, and the sessions of all connections."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._formats: dict[type, _SocketFormat] = {}
        self._hooked: set[tuple[type, str]] = set()
        self._sessions: WeakKeyDictionary[Any, _SocketSession] = WeakKeyDictionary()

    def hook(self, name: str, socket_format: _SocketFormat, module: Any, patches: Patches) -> None:
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
        turn = self._begin(connection, args, kwargs)
        if turn is None:
            return wrapped(*args, **kwargs)
        session, call, event = turn
        try:
            return _hooks.drive(call, leave_open, _expecting(session, call, event, wrapped), args, kwargs)
        except BaseException:
            _forget(session, call)
            raise

    async def _send_async(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        turn = self._begin(connection, args, kwargs)
        if turn is None:
            return await wrapped(*args, **kwargs)
        session, call, event = turn
        try:
            return await _hooks.drive_async(call, leave_open, _expecting(session, call, event, wrapped), args, kwargs)
        except BaseException:
            _forget(session, call)
            raise

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
        try:
            session = self._session(connection)
            if session is not None:
                session.on_event(event, self._start)
        except Exception:
            log_internal_error("read an event")
        return event

    def _close(self, wrapped: Any, connection: Any, args: Any, kwargs: Any) -> Any:
        try:
            session = self._session(connection)
            if session is not None:
                session.end(StreamObserver.on_close)
        except Exception:
            log_internal_error("end the responses of a connection")
        return wrapped(*args, **kwargs)

    def _lose(self, connection: Any, error: Exception) -> None:
        """End the responses in progress on a connection that is lost. Others than its errors leave it open."""
        try:
            names = {cls.__name__ for cls in type(error).__mro__}
            session = self._session(connection) if "ConnectionClosed" in names else None
            if session is not None and "ConnectionClosedOK" in names:  # the caller receives the end of its loop
                session.end(StreamObserver.on_exhausted)
            elif session is not None:
                session.end(lambda observer: observer.on_error(error))
        except Exception:
            log_internal_error("end the responses of a connection")

    def _session(self, connection: Any) -> _SocketSession | None:
        if not self._patches.active:
            return None
        session = self._sessions.get(connection)
        if session is None:
            socket_format = next((self._formats[cls] for cls in type(connection).__mro__ if cls in self._formats), None)
            if socket_format is None:
                return None
            uri = handshake_uri(getattr(connection, "_connection", None))
            host = getattr(uri, "host", None)
            provider = provider_of(None, host, self._provider.default_provider)
            query = dict(parse_qsl(getattr(uri, "query", "")))
            model = query.get("model") or query.get("deployment")
            session = _SocketSession(socket_format, provider, None if host is None else (host, uri.port), model)
            self._sessions[connection] = session
        return session

    def _begin(self, connection: Any, args: Any, kwargs: Any) -> tuple[_SocketSession, CallState, Any] | None:
        """Open a call if the message of a client requests a response."""
        try:
            event = _read_event(args[0] if args else next(iter(kwargs.values())))
            session = None if event is None else self._session(connection)
            if session is None:
                return None
            body = session.format.body(session.settings, event)
            call = self._open(session, session.format.wire_format.request(body), body)
            return session, call, event
        except Exception:
            log_internal_error("begin a call")
            return None

    def _start(self, session: _SocketSession, response: Any) -> _Turn:
        """Open a call for a response that the server has started by itself."""
        body = session.format.body(session.settings, response)
        call = self._open(session, session.format.wire_format.request(body))
        return _Turn(call, StreamObserver(call, call.make_accumulator()), None)

    def _open(self, session: _SocketSession, request: Request, body: Any = None) -> CallState:
        request.stream = True
        request.model = request.model or session.model or get_text(session.settings, "model")
        wire_format = session.format.wire_format
        return _hooks.begin(
            self._services, self._provider, wire_format, request, session.provider, session.server, body
        )


def _owner(cls: type, name: str) -> type | None:
    return next((owner for owner in cls.__mro__ if name in vars(owner)), None)


def _read_event(message: Any) -> Any:
    """Return the event in a message of a client if it requests a response."""
    if isinstance(message, (str, bytes)):
        # Search first: most messages of a session are audio.
        if not (_CREATE in message if isinstance(message, str) else _CREATE.encode() in message):
            return None
        message = json.loads(message)
    return message if get(message, "type") == _CREATE else None


def _expecting(session: _SocketSession, call: CallState, event: Any, wrapped: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``wrapped``, before which the response is expected: another thread may receive it at once."""

    def send(*args: Any, **kwargs: Any) -> Any:
        try:
            session.waiting.append(_Turn(call, StreamObserver(call, call.make_accumulator()), event))
        except Exception:
            log_internal_error("expect a response")
        return wrapped(*args, **kwargs)

    return send


def _forget(session: _SocketSession, call: CallState) -> None:
    """Stop waiting for the response to a request that was not sent."""
    for turn in [turn for turn in session.waiting if turn.call is call]:
        turn.observer.finished = True
        session.waiting.remove(turn)
