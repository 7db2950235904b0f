"""Hooks for the Claude Agent SDK: one call per query, of ``query()`` and of ``ClaudeSDKClient``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from ..._errors import log_internal_error
from ..._read import get
from ...capture.call import CallState
from ...capture.services import CallServices
from ...capture.stream import AsyncObservedIterator, StreamObserver, notify
from .. import _hooks
from .._patches import Patches
from .._requests import leave_open
from ..contract import Provider
from .messages import QUERY, Earlier

__all__ = ["patch"]


@dataclass(slots=True)
class _AgentSession:
    """Queries in progress of one ``ClaudeSDKClient``, which all run in one process."""

    options: Any
    earlier: Earlier
    waiting: list[StreamObserver] = field(default_factory=list)
    active: StreamObserver | None = None

    def end(self, step: Callable[[StreamObserver], object]) -> None:
        """End all queries with ``step``."""
        queries = [*self.waiting] if self.active is None else [self.active, *self.waiting]
        self.waiting.clear()
        self.active = None
        for observer in queries:
            notify(step, observer)


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks; ``module`` is the package."""
    patches = Patches()
    agent = _AgentHooks(provider, services, patches)
    patches.wrap_in(
        sys.modules.get(f"{module.__name__}._internal.client"), "InternalClient", "process_query", agent.run
    )
    for name, hook in (
        ("query", agent.send),
        ("receive_messages", agent.receive),
        ("disconnect", agent.disconnect),
    ):
        patches.wrap_in(module, "ClaudeSDKClient", name, hook)
    return patches


class _AgentHooks:
    """The hooked functions, and the sessions of all clients."""

    def __init__(self, provider: Provider, services: CallServices, patches: Patches) -> None:
        self._provider = provider
        self._services = services
        self._patches = patches
        self._sessions: WeakKeyDictionary[Any, _AgentSession] = WeakKeyDictionary()

    def run(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        """Run ``query()``, which calls this when it is first iterated."""
        values = dict(zip(("prompt", "options"), args, strict=False)) | kwargs
        call = self._open(values.get("prompt"), values.get("options"))
        return wrapped(*args, **kwargs) if call is None else _run(call, values.get("options"), wrapped, args, kwargs)

    async def send(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        session = self._session(client)
        call = None
        if session is not None:
            call = self._open(args[0] if args else kwargs.get("prompt"), session.options)
        if session is None or call is None:
            return await wrapped(*args, **kwargs)
        expected: list[StreamObserver] = []

        def sent(*args: Any, **kwargs: Any) -> Any:
            try:
                expected.append(StreamObserver(call, call.make_accumulator()))
                session.waiting += expected
            except Exception:
                log_internal_error("expect the answer to a query")
            return wrapped(*args, **kwargs)

        try:
            return await _hooks.drive_async(call, leave_open, sent, args, kwargs)
        except BaseException:
            for observer in expected:
                observer.finished = True
                if observer in session.waiting:
                    session.waiting.remove(observer)
            raise

    def receive(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        messages = wrapped(*args, **kwargs)
        session = self._session(client)
        return messages if session is None else self._receive(session, messages)

    async def _receive(self, session: _AgentSession, messages: Any) -> AsyncIterator[Any]:
        try:
            async for message in messages:
                try:
                    self._on_message(session, message)
                except Exception:
                    log_internal_error("read a message")
                yield message
        except Exception as error:
            failure = error
            session.end(lambda observer: observer.on_error(failure))
            raise
        finally:
            await messages.aclose()

    async def disconnect(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        try:
            session = self._sessions.pop(client, None)  # a client that connects again starts another process
            if session is not None:
                session.end(StreamObserver.on_close)
        except Exception:
            log_internal_error("end the queries of a client")
        return await wrapped(*args, **kwargs)

    def _on_message(self, session: _AgentSession, message: Any) -> None:
        kind = type(message).__name__
        if session.active is None:
            if kind not in ("AssistantMessage", "StreamEvent", "ResultMessage"):
                return
            if session.waiting:
                session.active = session.waiting.pop(0)
            elif (call := self._open(None, session.options)) is not None:  # a prompt of ``connect()``, or a task
                session.active = StreamObserver(call, call.make_accumulator())
            if session.active is not None:
                session.active.add(session.earlier)
        observer = session.active
        if observer is not None:
            observer.on_chunk(message)
        if kind == "ResultMessage":
            total = get(message, "total_cost_usd")
            session.earlier = Earlier(session.earlier.cost if total is None else total, known=total is not None)
            session.active = None
            if observer is not None:
                observer.on_exhausted()

    def _session(self, client: Any) -> _AgentSession | None:
        try:
            if not self._patches.active:
                return None
            session = self._sessions.get(client)
            if session is None:
                options = get(client, "options")
                session = self._sessions[client] = _AgentSession(options, _at_start(options))
            return session
        except Exception:
            log_internal_error("find the session of a client")
            return None

    def _open(self, prompt: Any, options: Any) -> CallState | None:
        if not self._patches.active:
            return None
        try:
            body = {
                "prompt": prompt if isinstance(prompt, str) else None,
                "model": get(options, "model"),
                "session": get(options, "resume"),
                "system_prompt": get(options, "system_prompt"),
            }
            request = QUERY.request(body)
            provider = self._provider
            return _hooks.begin(self._services, provider, QUERY, request, provider.default_provider, None, body)
        except Exception:
            log_internal_error("begin a call")
            return None


def _at_start(options: Any) -> Earlier:
    """Return the cost that a new process has stated: nothing, unless it resumes a session."""
    return Earlier(None, known=not (get(options, "resume") or get(options, "continue_conversation")))


async def _run(call: CallState, options: Any, wrapped: Any, args: Any, kwargs: Any) -> AsyncIterator[Any]:
    async def start(*args: Any, **kwargs: Any) -> Any:
        return wrapped(*args, **kwargs)

    messages = await _hooks.drive_async(call, leave_open, start, args, kwargs)
    try:
        observer = StreamObserver(call, call.make_accumulator())
        observer.add(_at_start(options))
    except Exception:
        log_internal_error("observe a query")
        _hooks.end_without_response(call)
        async for message in messages:
            yield message
        return
    try:
        async for message in AsyncObservedIterator(messages, observer):
            yield message
    finally:
        notify(observer.on_close)
        await messages.aclose()
