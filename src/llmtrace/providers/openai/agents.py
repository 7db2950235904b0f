"""Turns of agents that OpenAI hosts. A turn makes any number of model calls; it reports their tokens together.

A turn is billed once per process: by the streamed creation of its session, or else as a result in the events of the
session, in a list of turns, or when it is retrieved.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field, replace
from typing import Any

from ..._read import get, get_text, iter_list
from ...capture.error_body import read_error
from ...model import Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._common import no_content, read_fetch, remember
from .._usage import Reported
from .responses_content import RESPONSES_CONTENT

__all__ = ["SESSION", "SESSION_EVENTS", "SESSION_INPUT", "SESSION_UPDATE", "TURN", "TURNS"]

_FINAL_STATUSES = frozenset({"completed", "failed", "cancelled"})
_TURN = "agent.session.turn."
_WORK = frozenset({"agent.session.input.message", "agent.session.input.tool_result"})
"""Types of input on which the agent works. Another one approves something, or cancels the turn."""
_MAX_SESSIONS = 4096
_MAX_ITEMS = 512
"""Maximum number of items whose content is kept: a subscription may last for days."""
_agents: dict[str, dict[str, str | None]] = {}
"""Model and service tier of the agent, by session: turns do not name them."""


def _remember(session: Any) -> dict[str, str | None]:
    """Return the model and the service tier of a session, which later turns are priced with."""
    identifier, agent = get_text(session, "id"), get(session, "agent")
    tier = get_text(agent, "service_tier")
    properties = {"model": get_text(agent, "model"), "tier": None if tier == "auto" else tier}
    if identifier is not None and properties["model"] is not None:
        remember(_agents, identifier, properties, _MAX_SESSIONS)
    return properties


def read_session_request(body: Any) -> Request:
    agent, stream = get(body, "agent"), get(body, "stream") is True
    return Request(
        operation="invoke_agent" if stream or get(body, "input") else "",
        model=get_text(agent, "model"),
        stream=stream,
        service_tier=get_text(agent, "service_tier"),
        agent_id=get_text(body, "agent_id"),
    )


def read_session(session: Any) -> Response:
    properties, status = _remember(session), get_text(session, "status")
    return Response(
        model=properties["model"],
        status=status,
        conversation_id=get_text(session, "id"),
        error="error" if status == "failed" else None,
        failed=status == "failed",
    )


def read_input(body: Any) -> Request:
    works = any(get_text(event, "type") in _WORK for event in iter_list(body, "events"))
    return Request(operation="invoke_agent" if works else "")


def read_turn(turn: Any, usage: Any = None) -> Response:
    status, session, error = get_text(turn, "status"), get_text(turn, "session_id"), get(turn, "error")
    # A subagent may use another model.
    properties = _agents.get(session or "", {}) if get(turn, "subagent_id") is None else {}
    reported = Reported()
    reported.add(get(turn, "usage") or usage)
    return reported.fill_openai(
        Response(
            id=get_text(turn, "id"),
            model=properties.get("model"),
            finish_reasons=(status,) if status in _FINAL_STATUSES and status is not None else (),
            service_tier=properties.get("tier"),
            # The tools, containers and thresholds of the model calls are not reported: the cost is in doubt.
            price_context={"agent": "model calls only"},
            status=status,
            conversation_id=session,
            error=None if error is None else get_text(error, "code") or "error",
            failed=status == "failed",
            background=True,
        )
    )


def _read_result_request(result: tuple[Any, Any]) -> Request:
    return Request(operation="fetch_response", response_id=get_text(result[0], "id"))


def _read_result(result: tuple[Any, Any]) -> Response:
    return read_turn(*result)


def read_turns(page: Any) -> Response:
    turns = (turn for turn in iter_list(page, "data") if get_text(turn, "status") in _FINAL_STATUSES)
    return Response(results=tuple((turn, None) for turn in turns))


@dataclass(slots=True, eq=False)
class SessionAccumulator:
    """Accumulator of the events of a session, whose response is that of the turn that it was created for."""

    _first: str | None = None
    """Id of that turn. Other turns are results."""
    _final: tuple[Any, Any] | None = None
    """That turn and its usage, once it has ended."""
    _open: set[str] = field(default_factory=set)
    _results: list[tuple[Any, Any]] = field(default_factory=list)
    _session: Any = None
    _error: str | None = None
    _saw_content: bool = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or ""
        if kind.endswith(".delta"):
            self._saw_content = True
        elif kind in ("error", ""):
            self._error = read_error(event) or self._error
        elif kind.startswith(_TURN) and (turn := get(event, "turn")) is not None:
            self._add_turn(turn, get(event, "usage"))
        elif (session := get(event, "session")) is not None:
            _remember(session)
            self._session = session
        return self._saw_content

    def _add_turn(self, turn: Any, usage: Any) -> None:
        identifier = get_text(turn, "id") or ""
        if self._first is None and get(turn, "subagent_id") is None:
            self._first = identifier
        if get_text(turn, "status") not in _FINAL_STATUSES:
            self._open.add(identifier)
            return
        self._open.discard(identifier)
        if self._is_own(identifier):
            self._final = turn, usage
        else:
            self._results.append((turn, usage))

    def _is_own(self, identifier: str) -> bool:
        return identifier == self._first

    def take_results(self) -> list[tuple[Any, Any]]:
        taken, self._results = self._results, []
        return taken

    @property
    def ended(self) -> bool:
        return self._final is not None and not self._open

    def result(self) -> Response:
        if self._final is not None:
            return read_turn(*self._final)
        response = read_session(self._session) if self._session is not None else Response()
        return replace(
            response,
            error=response.error or self._error,
            failed=response.failed or self._error is not None,
            complete=False,
        )


class SubscriptionAccumulator(SessionAccumulator):
    """Accumulator of the events of a session that exists already: all its turns are results."""

    def _is_own(self, identifier: str) -> bool:
        return False

    @property
    def ended(self) -> bool:
        return not self._open

    def result(self) -> Response:
        return Response(id=get_text(self._session, "id"), complete=not self._open)


def read_session_content(body: Any) -> RequestContent:
    agent = get(body, "agent")
    fields = {"input": get(body, "input"), "instructions": get(agent, "instructions"), "tools": get(agent, "tools")}
    return RESPONSES_CONTENT.request(fields)


def read_input_content(body: Any) -> RequestContent:
    items: list[Any] = []
    for event in iter_list(body, "events"):
        if get_text(event, "type") == "agent.session.input.tool_result":
            items.append(
                {"type": "function_call_output", "call_id": get(event, "call_id"), "output": get(event, "output")}
            )
        else:
            items += iter_list(event, "input")
    return RESPONSES_CONTENT.request({"input": items})


class SessionContentAccumulator:
    """Accumulator of the latest items that the agent has produced."""

    __slots__ = ("_items",)

    def __init__(self) -> None:
        self._items: deque[Any] = deque(maxlen=_MAX_ITEMS)

    def add(self, event: Any) -> None:
        if get_text(event, "type") == f"{_TURN}item.done":
            self._items.append(get(event, "item"))

    def messages(self) -> list[Message]:
        return RESPONSES_CONTENT.response({"output": list(self._items), "status": "completed"})


_OUTPUT = ContentFormat(no_content, accumulator=SessionContentAccumulator)
_TURN_RESULT = WireFormat(request=_read_result_request, response=_read_result, api="openai.beta.agents.sessions.turns")
SESSION = WireFormat(
    read_session_request,
    read_session,
    SessionAccumulator,
    replace(_OUTPUT, request=read_session_content),
    results=_TURN_RESULT,
)
SESSION_UPDATE = WireFormat(request=lambda _: Request(operation="fetch_response"), response=read_session)
"""A change of a session, which may replace the model of its next turns."""
SESSION_INPUT = WireFormat(request=read_input, response=lambda _: Response(), content=ContentFormat(read_input_content))
SESSION_EVENTS = WireFormat(
    request=lambda _: Request(operation="fetch_response"),
    response=lambda _: Response(),
    accumulator=SubscriptionAccumulator,
    content=_OUTPUT,
    results=_TURN_RESULT,
)
TURNS = WireFormat(request=lambda _: Request(operation="fetch_response"), response=read_turns, results=_TURN_RESULT)
TURN = WireFormat(request=read_fetch, response=read_turn)
