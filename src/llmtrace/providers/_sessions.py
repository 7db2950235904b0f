"""Hooks for clients that keep a session open: each turn of a session is one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from .._errors import attempt, log_internal_error
from ..capture.call import CallState
from ..capture.services import CallServices
from ..capture.stream import StreamObserver, notify
from . import _hooks
from ._patches import Patches
from ._requests import leave_open, open_call
from .contract import Provider


@dataclass(slots=True)
class Turn:
    """One turn, from its request to its last event."""

    call: CallState
    request: Any = None
    """Message of the caller, ``None`` for a turn that the server started."""
    observer: StreamObserver = field(init=False)

    def __post_init__(self) -> None:
        self.observer = StreamObserver(self.call, self.call.make_accumulator())


@dataclass(slots=True, kw_only=True)
class Session:
    """Turns in progress of one session. It does not hold the client's object: dropping that ends them."""

    waiting: list[Turn] = field(default_factory=list)
    """Turns that were requested and have not started, in the order in which they were sent."""
    active: dict[Any, Turn] = field(default_factory=dict)
    """Turns that have started, by what all events of a turn have in common."""

    def end(self, step: Callable[[StreamObserver], object]) -> None:
        """End all turns with ``step``."""
        turns = [*self.active.values(), *self.waiting]
        self.active.clear()
        self.waiting.clear()
        for turn in turns:
            notify(step, turn.observer)

    def end_turn(self, key: Any = None) -> None:
        """End a turn, whose last event was read."""
        if (turn := self.active.pop(key, None)) is not None:
            notify(turn.observer.on_exhausted)

    def expect(self, call: CallState, request: Any, send: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``send``, before which its turn is expected: another thread may receive it at once."""
        try:
            self.waiting.append(Turn(call, request))
        except Exception:
            log_internal_error("expect a turn")
        return send(*args, **kwargs)

    def forget(self, call: CallState) -> None:
        """Stop waiting for a turn whose request was not sent."""
        for turn in [turn for turn in self.waiting if turn.call is call]:
            turn.observer.finished = True
            self.waiting.remove(turn)


S = TypeVar("S", bound=Session)


class SessionHooks(Generic[S]):
    """Sessions of all clients, and the steps of their hooks. Subclasses describe sessions and read events."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._sessions: WeakKeyDictionary[Any, S] = WeakKeyDictionary()

    def describe(self, client: Any) -> S | None:
        """Return the new session of a client, ``None`` if its session is not traced."""
        return None

    def on_event(self, session: S, event: Any) -> None:
        """Pass an event of the server to its turn."""
        raise NotImplementedError

    def find(self, client: Any) -> S | None:
        """Return the session of a client, ``None`` if it is not traced. Never raises."""
        try:
            if not self._patches.active:
                return None
            session = self._sessions.get(client)
            if session is None and (session := self.describe(client)) is not None:
                self._sessions[client] = session
            return session
        except Exception:
            log_internal_error("find a session")
            return None

    def open(self, method: str, path: str, body: Any, **options: Any) -> CallState | None:
        """Open the call of a turn by its route, as ``open_call`` does."""
        if not self._patches.active:
            return None
        return open_call(self._provider, self._services, method, path, body, **{"base": "", "stream": True, **options})

    def start(self, session: S, begin: Callable[[], CallState | None]) -> Turn | None:
        """Start the turn that was requested first, or else one that the server started, which ``begin`` opens."""
        if session.waiting:
            turn = session.waiting.pop(0)
        elif (call := begin()) is not None:
            turn = Turn(call)
        else:
            return None
        session.active[None] = turn
        return turn

    def send(
        self, session: S | None, call: CallState | None, request: Any, wrapped: Any, args: Any, kwargs: Any
    ) -> Any:
        """Send a message, which requests the turn ``call`` unless that is ``None``."""
        if session is None or call is None:
            return wrapped(*args, **kwargs)
        try:
            return _hooks.drive(call, leave_open, session.expect, (call, request, wrapped, *args), kwargs)
        except BaseException:
            session.forget(call)
            raise

    async def send_async(
        self, session: S | None, call: CallState | None, request: Any, wrapped: Any, args: Any, kwargs: Any
    ) -> Any:
        """Send a message, which requests the turn ``call`` unless that is ``None``."""
        if session is None or call is None:
            return await wrapped(*args, **kwargs)
        try:
            return await _hooks.drive_async(call, leave_open, session.expect, (call, request, wrapped, *args), kwargs)
        except BaseException:
            session.forget(call)
            raise

    def read(self, client: Any, event: Any) -> None:
        """Read an event that the client has received. Never raises."""
        if (session := self.find(client)) is not None:
            self.read_in(session, event)

    def read_in(self, session: S, event: Any) -> None:
        """Read an event of a session. Never raises."""
        attempt("read an event", self.on_event, session, event)

    def end(self, client: Any, step: Callable[[StreamObserver], object]) -> None:
        """End the turns of a client's session with ``step``. Never raises."""
        try:
            if (session := self._sessions.get(client)) is not None:
                session.end(step)
        except Exception:
            log_internal_error("end the turns of a session")
