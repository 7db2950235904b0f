"""OpenAI assistants: runs of a thread, where they report usage. An assistant is an agent hosted by the provider."""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text, select
from ...capture.error_body import read_error
from ...model import Request, Response
from ...model.wire_format import WireFormat
from .._usage import Reported
from .assistants_content import RETRIEVE_RUN_CONTENT, RUN_CONTENT

__all__ = ["RETRIEVE_RUN", "RUN"]

_PARAMS = frozenset({"temperature", "top_p"})
_FINAL_STATUSES = frozenset({"completed", "failed", "cancelled", "expired", "incomplete", "requires_action"})
_DELTAS = frozenset({"thread.message.delta", "thread.run.step.delta"})


def read_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    return Request(
        operation="invoke_agent",
        model=get_text(body, "model"),
        stream=get(body, "stream") is True,
        params=params,
        agent_id=get_text(body, "assistant_id"),
        background=True,
    )


def read_response(run: Any, reported: Reported | None = None) -> Response:
    if reported is None:
        reported = Reported()
        reported.add(get(run, "usage"))
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


class RunAccumulator:
    """Accumulator of the events of a streamed run; each event of the run carries its complete state so far."""

    __slots__ = ("_error", "_reported", "_run", "_saw_content")

    def __init__(self) -> None:
        self._run: Any = None
        self._reported = Reported()
        self._error: str | None = None
        self._saw_content = False

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


def read_retrieve(_: Any) -> Request:
    return Request(operation="fetch_response", background=True)


RUN = WireFormat(request=read_request, response=read_response, accumulator=RunAccumulator, content=RUN_CONTENT)
RETRIEVE_RUN = WireFormat(request=read_retrieve, response=read_response, content=RETRIEVE_RUN_CONTENT)
