"""OpenAI responses: create, stream, retrieve, compact and count input tokens; decisions, which are billed alike."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, put, select
from ...capture.error_body import read_error
from ...model import Counts, PromptUse, Request, Response
from ...model.wire_format import WireFormat
from .._common import read_count, read_count_request
from .._texts import response_texts
from .._usage import Reported
from .media import read_image_usage
from .responses_content import (
    DELTA_KINDS,
    INPUT_TOKENS_CONTENT,
    RESPONSES_CONTENT,
    RETRIEVE_RESPONSE_CONTENT,
    end_reason,
)

__all__ = ["COMPACT", "DECISIONS", "INPUT_TOKENS", "RESPONSES", "RETRIEVE_RESPONSE"]

_PARAMS = frozenset({"temperature", "top_p"})
_JSON = ("json_object", "json_schema")
_IMAGE_TOOL = "image_generation"
_END = ("response.completed", "response.failed", "response.incomplete", "response.cancelled")


def read_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    effort = get_text(get(body, "reasoning"), "effort")
    put(params, {"max_tokens": get_count(body, "max_output_tokens"), "reasoning.level": effort})
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
    """Count the uses of the provider's own tools, in the units that it bills."""
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


def _read_tool_usage(response: Any, usage: Counts) -> tuple[tuple[str | None, Counts], ...]:
    """Read the tool usage that the provider reports, which overrides our own count.

    Return the tokens of generated images, with the model that generated them.
    """
    tool_usage = get(response, "tool_usage")
    if tool_usage is None:
        return ()
    searches = get_count(get(tool_usage, "web_search"), "num_requests")
    if searches is not None and (searches or "web_searches" in usage):
        usage["web_searches"] = searches
    image_usage = read_image_usage(get(tool_usage, "image_gen"))
    if not any(image_usage.values()):
        return ()
    tool = next((tool for tool in iter_list(response, "tools") if get_text(tool, "type") == _IMAGE_TOOL), None)
    return ((get_text(tool, "model") or "images", image_usage),)


def read_response(response: Any, reported: Reported | None = None) -> Response:
    response = as_mapping(response)
    reported = reported or Reported(get(response, "usage"))
    status = get_text(response, "status")
    error = get(response, "error")
    output = list(iter_list(response, "output"))
    result = Response(
        id=get_text(response, "id"),
        model=get_text(response, "model"),
        finish_reasons=(status,) if status is not None and status in _FINAL_STATUSES else (),
        end_reason=end_reason(response),
        service_tier=get_text(response, "service_tier"),
        status=status,
        conversation_id=get_text(get(response, "conversation"), "id"),
        compacted=any(get_text(item, "type") == "compaction" for item in output),
        error=None if not error else read_error(response) or "error",
        failed=status == "failed" or (bool(error) and status != "completed"),
        refused=any(
            get_text(part, "type") == "refusal"
            for item in output
            if get_text(item, "type") == "message"
            for part in iter_list(item, "content")
        ),
        background=get(response, "background") is True,
    )
    usage = reported.fill_openai(result).usage
    if usage is not None:
        _count_tools(output, usage)
        result.additional_usage = _read_tool_usage(response, usage)
    return result


_FINAL_STATUSES = frozenset({"completed", "incomplete", "failed", "cancelled"})


@dataclass(slots=True, eq=False)
class ResponsesAccumulator:
    """Accumulator of response stream events; each life-cycle event carries the complete response so far."""

    _response: Any = None
    _reported: Reported = field(default_factory=Reported)
    _error: str | None = None
    ended: bool = False
    skips_text: bool = False

    def add(self, event: Any) -> bool | str:
        try:
            # Fast path: nearly every event is an SDK model that extends an item.
            fields = event.__dict__
            if fields["type"] in DELTA_KINDS:
                self.skips_text = True
                return fields["delta"] or True
        except (AttributeError, KeyError, TypeError):
            pass
        kind = get(event, "type")
        if not isinstance(kind, str):
            self._error = read_error(event) or self._error
            return self.skips_text
        if kind.endswith(".delta"):
            self.skips_text = True
        elif not kind.startswith("response."):
            self._error = read_error(event) or self._error
        elif kind in _END or kind in ("response.created", "response.in_progress", "response.queued"):
            # Keep the response of a start event, which is small, until the end event replaces it.
            self._response = get(event, "response") or self._response
            self._reported.add(get(self._response, "usage"))
            self.ended = kind in _END
        return self.skips_text

    def result(self) -> Response:
        response = read_response(self._response, self._reported)
        response.error, response.failed = response.error or self._error, response.failed or self._error is not None
        response.complete = self.ended
        return response


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


def read_compacted(response: Any) -> Response:
    return replace(read_response(response), compacted=True)


DECISIONS = WireFormat(request=read_decision, response=read_response, content=RESPONSES_CONTENT)
RESPONSES = WireFormat(read_request, read_response, ResponsesAccumulator, RESPONSES_CONTENT, response_texts)
RETRIEVE_RESPONSE = WireFormat(read_retrieve, read_response, ResponsesAccumulator, RETRIEVE_RESPONSE_CONTENT)
COMPACT = WireFormat(request=read_request, response=read_compacted, content=RESPONSES_CONTENT)
INPUT_TOKENS = WireFormat(request=read_count_request, response=read_count, content=INPUT_TOKENS_CONTENT)
