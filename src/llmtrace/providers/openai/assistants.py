"""OpenAI assistants: runs of a thread, where they report usage. An assistant is an agent hosted by the provider.

The response of a run that is not streamed has no output: its messages are fetched by other requests.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from ..._read import get, get_count, get_text, iter_list, select
from ...capture.error_body import read_error
from ...model import Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._common import no_content, read_fetch
from .._messages import (
    file_part,
    iter_items,
    media_part,
    parse_arguments,
    read_parts,
    server_tool_call_part,
    text_part,
    text_parts,
    tool_call_part,
    tool_definition,
    tool_result_part,
)
from .._usage import Reported

__all__ = ["RETRIEVE_RUN", "RUN"]

_PARAMS = frozenset({"temperature", "top_p"})
_FINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "expired", "incomplete", "requires_action"})
_DELTAS = frozenset({"thread.message.delta", "thread.run.step.delta"})


def read_request(body: Any) -> Request:
    return Request(
        operation="invoke_agent",
        model=get_text(body, "model"),
        stream=get(body, "stream") is True,
        params=select(body, _PARAMS),
        agent_id=get_text(body, "assistant_id"),
        background=True,
    )


def read_response(run: Any, reported: Reported | None = None) -> Response:
    reported = reported or Reported(get(run, "usage"))
    status = get_text(run, "status")
    reason = get_text(get(run, "incomplete_details"), "reason") or status
    error = get(run, "last_error")
    return reported.fill_openai(
        Response(
            id=get_text(run, "id"),
            model=get_text(run, "model"),
            finish_reasons=(reason,) if reason and status in _FINAL_STATUSES else (),
            status=status,
            conversation_id=get_text(run, "thread_id"),
            error=None if error is None else get_text(error, "code") or "error",
            failed=status == "failed",
        )
    )


@dataclass(slots=True, eq=False)
class RunAccumulator:
    """Accumulator of the events of a streamed run; each event of the run carries its complete state so far."""

    _run: Any = None
    _reported: Reported = field(default_factory=Reported)
    _error: str | None = None
    _saw_content: bool = False

    def add(self, event: Any) -> bool:
        # The SDK yields an event with its data. A body that is read as bytes has the data only.
        data = get(event, "data") or event
        kind = get(data, "object")
        if kind == "thread.run":
            self._run = data
            self._reported.add(get(data, "usage"))
        elif kind in _DELTAS:
            self._saw_content = True
        elif kind in (None, "error"):
            self._error = read_error(data) or ("error" if get(data, "error") is not None else self._error)
        return self._saw_content

    @property
    def ended(self) -> bool:
        return get(self._run, "status") in _FINAL_STATUSES

    def result(self) -> Response:
        if self._error is None:
            response = read_response(self._run, self._reported)
            return response if self.ended else _truncated(response)
        return Response(error=self._error, failed=True)


def _truncated(response: Response) -> Response:
    return Response(id=response.id, model=response.model, conversation_id=response.conversation_id, complete=False)


def read_content(body: Any) -> RequestContent:
    request = RequestContent(system=text_parts(body, "instructions", "additional_instructions"))
    for source, name in ((get(body, "thread"), "messages"), (body, "additional_messages")):
        for message in iter_items(source, name, request):
            request.messages.append(
                {"role": get_text(message, "role") or "user", "parts": read_parts(message, "content", _part)}
            )
    for output in iter_items(body, "tool_outputs", request):
        result = tool_result_part(get_text(output, "tool_call_id"), parse_arguments(get(output, "output")))
        request.messages.append({"role": "tool", "parts": [result]})
    request.tools += map(tool_definition, iter_items(body, "tools", request))
    return request


def _part(item: Any) -> Any:
    match get_text(item, "type"):
        case "text" | "refusal" as kind:
            text = get_text(item, kind) or get_text(get(item, kind), "value")
            return None if text is None else text_part(text)
        case "image_url":
            return media_part("image", get_text(get(item, "image_url"), "url"))
        case "image_file":
            identifier = get_text(get(item, "image_file"), "file_id")
            return None if identifier is None else file_part(identifier, "image")
    return None


def _calls(calls: Any) -> list[Any]:
    parts: list[Any] = []
    for call in calls:
        kind, identifier = get_text(call, "type") or "unknown", get_text(call, "id")
        details = get(call, kind)
        if kind == "function":
            parts.append(tool_call_part(identifier, get_text(details, "name"), get_text(details, "arguments") or ""))
        else:
            tool_input = get_text(details, "input")
            fields = {} if tool_input is None else {"input": tool_input}
            parts.append(server_tool_call_part(identifier, kind, kind, fields))
    return parts


def read_calls(run: Any) -> list[Message]:
    """Return the tool calls that a run waits for."""
    action = get(get(run, "required_action"), "submit_tool_outputs")
    parts = _calls(iter_list(action, "tool_calls"))
    return [{"role": "assistant", "parts": parts, "finish_reason": "tool_calls"}] if parts else []


class RunContentAccumulator:
    """Accumulator of the messages and tool calls of a streamed run, in the order they began."""

    def __init__(self) -> None:
        self._order: defaultdict[str, _PartialItem] = defaultdict(_PartialItem)
        self._run: Any = None

    def add(self, event: Any) -> None:
        data = get(event, "data") or event
        kind = get_text(data, "object")
        if kind == "thread.run":
            self._run = data
        elif kind in ("thread.message", "thread.run.step") or kind in _DELTAS:
            item = self._order[get_text(data, "id") or ""]
            item.add(get(data, "delta"))
            if get_text(data, "status") == "completed":
                calls = _calls(iter_list(get(data, "step_details"), "tool_calls"))
                item.parts = [*read_parts(data, "content", _part), *calls]

    def messages(self) -> list[Message]:
        parts = [part for item in self._order.values() for part in item.read()]
        pending = read_calls(self._run)
        if pending and not any(part["type"] == "tool_call" for part in parts if isinstance(part, dict)):
            parts += pending[0]["parts"]
        reason = get_text(self._run, "status")
        if reason == "requires_action":
            reason = "tool_calls"
        return [{"role": "assistant", "parts": parts, "finish_reason": reason}] if parts else []


class _PartialItem:
    """Message or step of a stream. Its completed content, once received, replaces the pieces."""

    def __init__(self) -> None:
        self._texts: defaultdict[int, list[str]] = defaultdict(list)
        self._calls: dict[int, dict[str, Any]] = {}
        self.parts: list[Any] | None = None

    def add(self, delta: Any) -> None:
        for item in iter_items(delta, "content"):
            if (text := get_text(get(item, "text"), "value")) is not None:
                self._texts[get_count(item, "index") or 0].append(text)
        for item in iter_items(get(delta, "step_details"), "tool_calls"):
            call = self._calls.setdefault(get_count(item, "index") or 0, {"pieces": []})
            kind = get_text(item, "type") or call.get("type") or "unknown"
            details = get(item, kind)
            call["type"] = kind
            call["id"] = get_text(item, "id") or call.get("id")
            call["name"] = get_text(details, "name") or call.get("name")
            call["pieces"].append(get_text(details, "arguments" if kind == "function" else "input") or "")

    def read(self) -> list[Any]:
        if self.parts is not None:
            return self.parts
        parts: list[Any] = [text_part("".join(self._texts[index])) for index in sorted(self._texts)]
        for index in sorted(self._calls):
            call = self._calls[index]
            text = "".join(call["pieces"])
            details = {"name": call["name"], "arguments": text, "input": text}
            parts += _calls([{"type": call["type"], "id": call["id"], call["type"]: details}])
        return parts


_CONTENT = ContentFormat(read_content, read_calls, RunContentAccumulator)
RUN = WireFormat(read_request, read_response, RunAccumulator, _CONTENT)
RETRIEVE_RUN = WireFormat(read_fetch, read_response, content=ContentFormat(no_content, read_calls))
