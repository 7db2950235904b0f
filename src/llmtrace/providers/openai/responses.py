"""OpenAI responses: create, stream, retrieve, compact and input token counts; decisions, which bill as these do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, select
from ...capture.error_body import read_error
from ...model import Counts, PromptUse, Request, Response
from ...model.wire_format import WireFormat
from .._texts import RESPONSE_WORDS
from .._usage import Reported
from .media import read_image_usage
from .responses_content import INPUT_TOKENS_CONTENT, RESPONSES_CONTENT, RETRIEVE_CONTENT, end_reason

__all__ = ["COMPACT", "DECISIONS", "INPUT_TOKENS", "RESPONSES", "RETRIEVE"]

_PARAMS = frozenset({"temperature", "top_p"})
_JSON = ("json_object", "json_schema")
_IMAGE_TOOL = "image_generation"
_END = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")


def read_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    limit = get_count(body, "max_output_tokens")
    if limit is not None:
        params["max_tokens"] = limit
    effort = get_text(get(body, "reasoning"), "effort")
    if effort:
        params["reasoning.level"] = effort
    kind = get_text(get(get(body, "text"), "format"), "type")
    conversation = get(body, "conversation")
    prompt = get(body, "prompt")
    prompt_id = get_text(prompt, "id")
    return Request(
        operation="chat",
        model=get_text(body, "model"),
        stream=get(body, "stream") is True,
        params=params,
        output_type=None if kind is None else "json" if kind in _JSON else "text",
        service_tier=get_text(body, "service_tier"),
        api_type="responses",
        previous_response_id=get_text(body, "previous_response_id"),
        conversation_id=conversation if isinstance(conversation, str) else get_text(conversation, "id"),
        prompt=None if prompt_id is None else PromptUse(prompt_id, get_text(prompt, "version")),
        background=get(body, "background") is True,
    )


def _count_tools(output: list[Any], usage: Counts) -> None:
    """Count what the provider's own tools did, as it bills them."""
    containers = set()
    for item in output:
        match get_text(item, "type"):
            case "web_search_call" if get_text(get(item, "action"), "type") in (None, "search"):
                usage["web_searches"] = usage.get("web_searches", 0) + 1
            case "file_search_call":
                usage["file_searches"] = usage.get("file_searches", 0) + 1
            case "image_generation_call" if get_text(item, "status") != "failed":
                usage["images"] = usage.get("images", 0) + 1
            case "code_interpreter_call":
                containers.add(get_text(item, "container_id"))
            case "shell_call" if (container := get_text(get(item, "environment"), "container_id")) is not None:
                containers.add(container)
    if containers:
        usage["code_executions"] = len(containers)


def _read_tool_usage(answer: Any, usage: Counts) -> tuple[tuple[str | None, Counts], ...]:
    """What the provider says its tools came to, which beats counting; the tokens of images, of the model that drew."""
    told = get(answer, "tool_usage")
    if told is None:
        return ()
    searches = get_count(get(told, "web_search"), "num_requests")
    if searches is not None and (searches or "web_searches" in usage):
        usage["web_searches"] = searches
    drawn = read_image_usage(get(told, "image_gen"))
    if not any(drawn.values()):
        return ()
    model = next(
        (get_text(tool, "model") for tool in iter_list(answer, "tools") if get_text(tool, "type") == _IMAGE_TOOL), None
    )
    return ((model or "images", drawn),)


def read_response(answer: Any) -> Response:
    reported = Reported()
    reported.add(get(answer, "usage"))
    return _read(answer, reported)


def _read(answer: Any, reported: Reported) -> Response:
    answer = as_mapping(answer)
    status = get_text(answer, "status")
    error = get(answer, "error")
    output = list(iter_list(answer, "output"))
    response = Response(
        id=get_text(answer, "id"),
        model=get_text(answer, "model"),
        finish_reasons=(status,) if status is not None and status in _FINAL_STATUSES else (),
        end_reason=end_reason(answer),
        service_tier=get_text(answer, "service_tier"),
        status=status,
        conversation_id=get_text(get(answer, "conversation"), "id"),
        compacted=any(get_text(item, "type") == "compaction" for item in output),
        error=None if not error else read_error(answer) or "error",
        failed=status == "failed" or (bool(error) and status != "completed"),
        refused=any(
            get_text(part, "type") == "refusal"
            for item in output
            if get_text(item, "type") == "message"
            for part in iter_list(item, "content")
        ),
        background=get(answer, "background") is True,
    )
    usage = reported.fill_openai(response).usage
    if usage is not None:
        _count_tools(output, usage)
        response.additional_usage = _read_tool_usage(answer, usage)
    return response


_FINAL_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled"})


class ResponsesAccumulator:
    """Folds response stream events; each life-cycle event carries the whole response so far."""

    __slots__ = ("_answer", "_end", "_error", "_reported", "spoken")

    def __init__(self) -> None:
        self._answer: Any = None
        self._reported = Reported()
        self._end = False
        self.spoken = False
        self._error: str | None = None

    def add(self, event: Any) -> bool:
        kind = get(event, "type")
        if not isinstance(kind, str):
            self._error = read_error(event) or self._error
            return self.spoken
        if kind.endswith(".delta"):
            self.spoken = True
        elif not kind.startswith("response."):
            self._error = read_error(event) or self._error
        elif kind in _END or kind in ("response.created", "response.in_progress", "response.queued"):
            # A start event is an answer without output: small enough to keep until the end event replaces it.
            self._answer = get(event, "response") or self._answer
            self._reported.add(get(self._answer, "usage"))
            self._end = kind in _END
        return self.spoken

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        answer = _read(self._answer, self._reported)
        return replace(
            answer,
            error=answer.error or self._error,
            failed=answer.failed or self._error is not None,
            complete=self._end,
        )


def read_retrieve(query: Any) -> Request:
    cursor = get_count(query, "starting_after")
    return Request(
        operation="fetch_response",
        stream=get(query, "stream") is True,
        params={} if cursor is None else {"stream_cursor": str(cursor)},
        api_type="responses",
        background=True,
    )


def read_decision(body: Any) -> Request:
    return Request(operation="chat", model=get_text(body, "model"), output_type="json")


def read_compacted(answer: Any) -> Response:
    return replace(read_response(answer), compacted=True)


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens", model=get_text(body, "model"))


def read_count(answer: Any) -> Response:
    return Response(counted_tokens=get_count(answer, "input_tokens"))


DECISIONS = WireFormat(request=read_decision, response=read_response, content=RESPONSES_CONTENT)
RESPONSES = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=ResponsesAccumulator,
    content=RESPONSES_CONTENT,
    words=RESPONSE_WORDS,
)
RETRIEVE = WireFormat(
    request=read_retrieve, response=read_response, accumulator=ResponsesAccumulator, content=RETRIEVE_CONTENT
)
COMPACT = WireFormat(request=read_request, response=read_compacted, content=RESPONSES_CONTENT)
INPUT_TOKENS = WireFormat(request=read_count_request, response=read_count, content=INPUT_TOKENS_CONTENT)
