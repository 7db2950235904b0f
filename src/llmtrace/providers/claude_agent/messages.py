"""Messages of Claude Code: readers of a query, and of its result with the cost that the process states."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..._read import get, get_text, iter_list, read_money
from ...model import Counts, Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat, no_messages
from ...model.wire_format import WireFormat
from .._messages import reasoning_part, text_part, text_parts, tool_call_part
from ..anthropic.messages import read_response as read_message

__all__ = ["QUERY", "Earlier"]


@dataclass(frozen=True, slots=True)
class Earlier:
    """Cost that the process has already stated when a query begins."""

    cost: Any
    known: bool
    """False in a resumed session: some releases of the process include the cost of earlier processes."""


def read_request(body: Any) -> Request:
    return Request(
        operation="invoke_agent",
        model=get_text(body, "model"),
        stream=True,
        conversation_id=get_text(body, "session"),
    )


def read_nothing(_: Any) -> Response:
    return Response()


class QueryAccumulator:
    """Accumulator of the messages of one query, which may have several results."""

    __slots__ = ("_earlier", "_model", "_result", "_saw_content", "_usage")

    def __init__(self) -> None:
        self._earlier = Earlier(None, known=True)
        self._model: str | None = None
        self._result: Any = None
        self._usage: list[Response] = []
        self._saw_content = False

    def add(self, message: Any) -> bool:
        kind = type(message).__name__
        if kind == "StreamEvent":
            self._saw_content = self._saw_content or get(get(message, "event"), "type") == "content_block_delta"
        elif kind == "AssistantMessage":
            self._saw_content = True
            model = get_text(message, "model")
            if get(message, "parent_tool_use_id") is None and model != "<synthetic>":  # of a subagent; of no model
                self._model = model or self._model
        elif kind == "ResultMessage":
            self._result = message
            self._usage.append(read_message({"usage": get(message, "usage")}))
        elif isinstance(message, Earlier):
            self._earlier = message
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._result is not None

    def result(self) -> Response:
        result, usage = self._result, self._sum()
        subtype, reason = get_text(result, "subtype") or "error", get_text(result, "stop_reason")
        aborted = (get_text(result, "terminal_reason") or "").startswith("aborted")
        failed = get(result, "is_error") is True and not aborted
        cost = self._cost()
        response = Response(
            model=self._model,
            finish_reasons=(reason,) if reason else (),
            usage=usage,
            stated_cost=cost if cost or not usage else None,
            conversation_id=get_text(result, "session_id"),
            failed=failed,
            complete=self.ended,
        )
        if failed:
            response.error = "error" if subtype == "success" else subtype
            status = get(result, "api_error_status")
            response.http_status = status if type(status) is int else None
        if response.stated_cost is None:
            # The usage is that of the main loop: it may leave out what other models were called for.
            response.price_context = {"cost": "not stated"}
        return response

    def _sum(self) -> Counts | None:
        counts: Counts = {}
        for response in self._usage:
            for name, count in (response.usage or {}).items():
                counts[name] = counts.get(name, 0) + count
        return counts or None

    def _cost(self) -> Fraction | None:
        """Return the cost of this query: the process states the sum of all its queries."""
        total, earlier = read_money(get(self._result, "total_cost_usd")), self._earlier
        if total is None or not earlier.known:
            return None
        cost = Fraction(str(total)) - Fraction(str(earlier.cost or 0))
        return cost if cost >= 0 else None


def read_request_content(body: Any) -> RequestContent:
    prompt = text_parts(body, "prompt")
    return RequestContent(text_parts(body, "system_prompt"), [{"role": "user", "parts": prompt}] if prompt else [])


class QueryContentAccumulator:
    """Accumulator of what the agent wrote and which tools it called."""

    __slots__ = ("_parts", "_reason")

    def __init__(self) -> None:
        self._parts: list[Any] = []
        self._reason = "end_turn"

    def add(self, message: Any) -> None:
        kind = type(message).__name__
        if kind == "AssistantMessage" and get(message, "parent_tool_use_id") is None:
            self._parts += _parts(message)
        elif kind == "ResultMessage":
            self._reason = get_text(message, "stop_reason") or self._reason

    def messages(self) -> list[Message]:
        message: Message = {"role": "assistant", "parts": self._parts, "finish_reason": self._reason}
        return [message] if self._parts else []


def _parts(message: Any) -> Iterator[Any]:
    for block in iter_list(message, "content"):
        if (text := get_text(block, "text")) is not None:
            yield text_part(text)
        elif (thought := get_text(block, "thinking")) is not None:
            yield reasoning_part(thought)
        elif type(block).__name__ == "ToolUseBlock":
            yield tool_call_part(get_text(block, "id"), get_text(block, "name"), get(block, "input"))


QUERY = WireFormat(
    read_request,
    read_nothing,
    QueryAccumulator,
    ContentFormat(read_request_content, no_messages, QueryContentAccumulator),
    api="claude_agent_sdk.query",
)
