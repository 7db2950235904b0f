"""Tools that Claude Code runs for a query: each is a span below that of the query."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..._errors import log_internal_error
from ..._read import get, get_text, iter_list
from ...capture import worker
from ...capture.stream import notify
from ...context.callback_run import CallbackRun, ReportedError


class QueryTools:
    """Tools in progress of one query."""

    def __init__(self, client: str, context: Any) -> None:
        """Create the tools of a query.

        Args:
            client: The name of the client library.
            context: The OpenTelemetry context in which the span of the query is current.
        """
        self._client = client
        self._context = context
        self._runs: dict[str, CallbackRun] = {}

    def read(self, message: Any) -> Any:
        """Begin and end the tools that a message names, and return the message. Never raises."""
        try:
            kind = type(message).__name__
            if kind in ("AssistantMessage", "UserMessage"):
                for block in iter_list(message, "content"):
                    self._read_block(block, get_text(message, "parent_tool_use_id"))
            elif kind == "ResultMessage":
                _end(self._runs)
        except Exception:
            log_internal_error("read the tools of a query")
        return message

    def _read_block(self, block: Any, subagent: str | None) -> None:
        if type(block).__name__ == "ToolUseBlock" and (identifier := get_text(block, "id")) is not None:
            # A tool of a subagent belongs to the tool that runs the subagent.
            above = self._runs.get(subagent or "")
            context = self._context if above is None else above.context
            run = CallbackRun(self._client, "tool", get_text(block, "name") or "", context)
            run.operation.call_id = identifier
            if run.reads_content:
                run.operation.arguments = get(block, "input")
            self._runs[identifier] = run
        elif (ended := self._runs.pop(get_text(block, "tool_use_id") or "", None)) is not None:
            if ended.reads_content:
                ended.operation.result = get(block, "content")
            ended.end(ReportedError("the tool failed") if get(block, "is_error") else None)

    def __del__(self) -> None:
        if getattr(self, "_runs", None):  # the query was left early
            notify(worker.submit, partial(_end, self._runs))


def _end(runs: dict[str, CallbackRun]) -> None:
    """End tools whose results are not known."""
    while runs:
        runs.popitem()[1].end()
