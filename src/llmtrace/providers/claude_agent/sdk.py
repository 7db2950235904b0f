"""Hooks for the Claude Agent SDK: one call per query, of ``query()`` and of ``ClaudeSDKClient``."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import Any

from ..._errors import log_internal_error
from ..._read import get
from ...capture.call import CallState
from ...capture.services import CallServices
from ...capture.stream import AsyncObservedIterator, StreamObserver, notify
from .. import _hooks
from .._patches import Patches
from .._requests import leave_open
from .._sessions import Session, SessionHooks
from ..contract import Provider
from .messages import Earlier
from .tools import QueryTools


@dataclass(slots=True, kw_only=True)
class _AgentSession(Session):
    """Queries in progress of one ``ClaudeSDKClient``, which all run in one process."""

    options: Any
    earlier: Earlier


def patch(provider: Provider, module: Any, services: CallServices) -> Patches:
    """Install the hooks; ``module`` is the package."""
    patches = Patches()
    agent = _AgentHooks(provider, services, patches)
    patches.wrap_in(
        sys.modules.get(f"{module.__name__}._internal.client"), "InternalClient", "process_query", agent.run
    )
    for name, hook in (
        ("query", agent.query),
        ("receive_messages", agent.receive),
        ("disconnect", agent.disconnect),
    ):
        patches.wrap_in(module, "ClaudeSDKClient", name, hook)
    return patches


class _AgentHooks(SessionHooks[_AgentSession]):
    """The hooked functions, and the sessions of all clients."""

    def run(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        """Run ``query()``, which calls this when it is first iterated."""
        values = dict(zip(("prompt", "options"), args, strict=False)) | kwargs
        options = values.get("options")
        call = self._open(values.get("prompt"), options)
        return wrapped(*args, **kwargs) if call is None else self._run(call, options, wrapped, args, kwargs)

    async def _run(self, call: CallState, options: Any, wrapped: Any, args: Any, kwargs: Any) -> AsyncIterator[Any]:
        async def start(*args: Any, **kwargs: Any) -> Any:
            return wrapped(*args, **kwargs)

        messages = await _hooks.drive_async(call, leave_open, start, args, kwargs)
        try:
            observer = StreamObserver(call, call.make_accumulator())
            self._begin(observer, call, _at_start(options))
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

    async def query(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        session = self.find(client)
        prompt = args[0] if args else kwargs.get("prompt")
        call = None if session is None else self._open(prompt, session.options)
        return await self.send_async(session, call, None, wrapped, args, kwargs)

    def receive(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        messages = wrapped(*args, **kwargs)
        session = self.find(client)
        return messages if session is None else self._receive(session, messages)

    async def _receive(self, session: _AgentSession, messages: Any) -> AsyncIterator[Any]:
        try:
            async for message in messages:
                self.read_in(session, message)
                yield message
        except Exception as error:
            session.end(methodcaller("on_error", error))
            raise
        finally:
            await messages.aclose()

    async def disconnect(self, wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        self.end(client, StreamObserver.on_close)
        self._sessions.pop(client, None)  # a client that connects again starts another process
        return await wrapped(*args, **kwargs)

    def on_event(self, session: _AgentSession, event: Any) -> None:
        """Pass a message of the process to its query."""
        kind, turn = type(event).__name__, session.active.get(None)
        if turn is None and kind in ("AssistantMessage", "StreamEvent", "ResultMessage"):
            # A query without a request is a prompt of ``connect()``, or a task.
            turn = self.start(session, partial(self._open, None, session.options))
            if turn is not None:
                self._begin(turn.observer, turn.call, session.earlier)
        if turn is not None:
            turn.observer.on_chunk(event)
        if kind == "ResultMessage":
            total = get(event, "total_cost_usd")
            session.earlier = Earlier(session.earlier.cost if total is None else total, known=total is not None)
            session.end_turn()

    def _begin(self, observer: StreamObserver, call: CallState, earlier: Earlier) -> None:
        observer.add(earlier)
        if not call.start.suppressed:
            observer.unwrap(QueryTools(self._provider.name, call.span_context).read)

    def describe(self, client: Any) -> _AgentSession:
        """Return the new session of a client."""
        options = get(client, "options")
        return _AgentSession(options=options, earlier=_at_start(options))

    def _open(self, prompt: Any, options: Any) -> CallState | None:
        body = {
            "prompt": prompt if isinstance(prompt, str) else None,
            "model": get(options, "model"),
            "session": get(options, "resume"),
            "system_prompt": get(options, "system_prompt"),
        }
        return self.open("AGENT", "query", body)


def _at_start(options: Any) -> Earlier:
    """Return the cost that a new process has stated: nothing, unless it resumes a session."""
    return Earlier(None, known=not (get(options, "resume") or get(options, "continue_conversation")))
