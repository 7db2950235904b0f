"""OpenAI realtime sessions: one response of a session, whose usage is split by modality."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_count, get_text, iter_list
from ...model import PromptUse, Request, Response
from ...model.wire_format import WireFormat
from .._usage import Reported
from .realtime_content import REALTIME_CONTENT

__all__ = ["REALTIME", "accepts_request", "merge_settings", "response_id"]

_FINAL_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled"})
_SETTINGS = ("instructions", "tools", "output_modalities", "modalities", "max_output_tokens", "reasoning", "prompt")
"""Settings of a session that a request may override."""
_OTHER_ERRORS = ("input_audio_", "output_audio_", "item_", "conversation_item_", "session_")
"""Prefixes of the error codes of events that request no response."""


def merge_settings(session: Any, event: Any) -> dict[str, Any]:
    """Return a request, or a response that the server started, with the settings of its session.

    Args:
        session: The session as the server describes it.
        event: The ``response.create`` event, or the response.
    """
    body = {name: value for name in _SETTINGS if (value := get(session, name)) is not None}
    parameters = get(event, "response") if get(event, "type") == "response.create" else event
    for name in (*_SETTINGS, "input", "metadata", "tool_choice", "parallel_tool_calls"):
        if (value := get(parameters, name)) is not None:
            body[name] = value
    return body


def response_id(event: Any) -> str | None:
    """Return the id of the response that an event belongs to."""
    return get_text(event, "response_id") or get_text(get(event, "response"), "id")


def accepts_request(event: Any, request: Any) -> bool:
    """Return True if an event starts the response to a request, or rejects the request."""
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


def read_request(body: Any) -> Request:
    params: dict[str, Any] = {}
    if (limit := get_count(body, "max_output_tokens")) is not None:  # it may be "inf"
        params["max_tokens"] = limit
    if effort := get_text(get(body, "reasoning"), "effort"):
        params["reasoning.level"] = effort
    prompt = get(body, "prompt")
    prompt_id = get_text(prompt, "id")
    modalities = [*iter_list(body, "output_modalities"), *iter_list(body, "modalities")]
    return Request(
        operation="chat",
        params=params,
        output_type="speech" if "audio" in modalities else "text" if modalities else None,
        prompt=None if prompt_id is None else PromptUse(prompt_id, get_text(prompt, "version")),
    )


def read_response(response: Any) -> Response:
    reported = Reported()
    reported.add(get(response, "usage"))
    status, details = get_text(response, "status"), get(response, "status_details")
    error = get(details, "error")
    reason = get_text(details, "reason") if status == "incomplete" else status
    if status == "completed":
        called = any(get_text(item, "type") == "function_call" for item in iter_list(response, "output"))
        reason = "tool_call" if called else "stop"
    return reported.fill_openai(
        Response(
            id=get_text(response, "id"),
            finish_reasons=(reason,) if reason is not None and status in _FINAL_STATUSES else (),
            status=status,
            conversation_id=get_text(response, "conversation_id"),
            error=None if error is None else get_text(error, "code") or get_text(error, "type") or "error",
            failed=status == "failed",
        )
    )


class RealtimeAccumulator:
    """Accumulator of the events of one response, and of the session that it belongs to."""

    __slots__ = ("_end", "_model", "_response", "_saw_content")

    def __init__(self) -> None:
        self._response: Any = None
        self._model: str | None = None
        self._end = self._saw_content = False

    def add(self, event: Any) -> bool:
        kind = get_text(event, "type") or ""
        if kind.endswith(".delta"):
            self._saw_content = True
        elif kind in ("response.created", "response.done"):
            self._response = get(event, "response")
            self._end = kind == "response.done"
        elif kind.startswith("session."):
            self._model = get_text(get(event, "session"), "model")
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        response = read_response(self._response)
        response.model, response.complete = self._model, self._end
        return response


REALTIME = WireFormat(read_request, read_response, RealtimeAccumulator, REALTIME_CONTENT)
