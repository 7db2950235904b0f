"""Anthropic messages: how to read a request, an answer, and a stream of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, select
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._texts import MESSAGE_WORDS
from .._usage import OPENAI, Names, Reported
from .messages_content import COMPLETE_CONTENT, COUNT_TOKENS_CONTENT, MESSAGES_CONTENT

__all__ = ["COMPLETE", "COUNT_TOKENS", "MESSAGES"]

_PARAMS = frozenset({"max_tokens", "temperature", "top_p", "top_k", "stop_sequences"})
_FORMS = frozenset({"output_config", "output_format"})


def read_request(body: Any) -> Request:
    request = Request("chat", get_text(body, "model"), get(body, "stream") is True, select(body, _PARAMS))
    if type(body) is not dict or not _FORMS.isdisjoint(body):
        config = get(body, "output_config")
        effort = get_text(config, "effort")
        if effort:
            request.params["reasoning.level"] = effort
        if get_text(get(config, "format") or get(body, "output_format"), "type") == "json_schema":
            request.output_type = "json"
    return request


_NAMES: Names = {
    **OPENAI,  # of gateways that pass those of another vendor on
    "input_tokens": "fresh",
    "total_tokens": None,
    "output_tokens_details": {"thinking_tokens": "reasoning"},
    "server_tool_use": {
        "web_search_requests": "web_searches",
        "web_fetch_requests": "web_fetches",
        "code_execution_requests": "code_executions",
        "tool_search_requests": None,
    },
}


def to_usage(told: Counts) -> Counts | None:
    """Anthropic counts cached tokens apart from ``input_tokens``; our ``input`` is the total, so that every provider's
    input means the same thing."""
    found = {key: count for key, count in told.items() if key != "fresh"}
    if "cache_write" not in found and ("cache_write_5m" in found or "cache_write_1h" in found):
        found["cache_write"] = found.get("cache_write_5m", 0) + found.get("cache_write_1h", 0)
    if "fresh" in told and (told["fresh"] or "input" not in told):
        found["input"] = told["fresh"] + found.get("cache_read", 0) + found.get("cache_write", 0)
    return found or None


_BESIDE = ("advisor_message", "compaction")
"""Steps that are billed and not in the totals."""


def read_additional_usage(usage: Any) -> tuple[tuple[str | None, Counts], ...]:
    """What was billed and the usage leaves out: a model that was asked for advice, a summary of what came before."""
    found: list[tuple[str | None, Counts]] = []
    for step in iter_list(usage, "iterations"):
        kind = get_text(step, "type")
        if kind in _BESIDE:
            reported = Reported()
            reported.add(step, _NAMES)
            model = get_text(step, "model") or kind if kind == "advisor_message" else None
            found.append((model, to_usage(reported.counts) or {}))
    return tuple(found)


_PRICED_BY = frozenset({"speed", "inference_geo"})
_USUAL = frozenset({"standard", "not_available", "global", "default"})


def _price_context(usage: Any) -> dict[str, str]:
    found = select(usage, _PRICED_BY)
    for step in iter_list(usage, "iterations"):
        kind = get_text(step, "type")
        if kind is not None and kind not in ("message", *_BESIDE):
            found["iterations"] = kind  # perhaps billed beside the totals too
    return {key: value for key, value in found.items() if isinstance(value, str) and value not in _USUAL}


def _was_compacted(answer: Any) -> bool:
    """Whether the server cleared or summed up a part of the conversation."""
    return next(iter_list(get(answer, "context_management"), "applied_edits"), None) is not None


def read_response(answer: Any) -> Response:
    reported = Reported()
    answer = as_mapping(answer)
    usage = as_mapping(get(answer, "usage"))
    reported.add(usage, _NAMES)
    reason = get_text(answer, "stop_reason")
    response = Response(
        id=get_text(answer, "id"),
        model=get_text(answer, "model"),
        finish_reasons=(reason,) if reason else (),
        additional_usage=read_additional_usage(usage),
        service_tier=get_text(usage, "service_tier"),
        price_context=_price_context(usage),
        compacted=_was_compacted(answer)
        or any(get_text(block, "type") == "compaction" for block in iter_list(answer, "content")),
    )
    return reported.fill(response, to_usage(reported.counts))


class MessagesAccumulator:
    """Folds messages stream events into the answer they add up to."""

    __slots__ = (
        "_also",
        "_compacted",
        "_context",
        "_end",
        "_error",
        "_id",
        "_model",
        "_reason",
        "_reported",
        "_tier",
        "spoken",
    )

    def __init__(self) -> None:
        self._reported = Reported()
        self._also: tuple[tuple[str | None, Counts], ...] = ()
        self._context: dict[str, str] = {}
        self._id: str | None = None
        self._model: str | None = None
        self._tier: str | None = None
        self._reason: str | None = None
        self._error: str | None = None
        self._end = self._compacted = False
        self.spoken = False

    def add(self, event: Any) -> bool:
        match get(event, "type"):
            case "content_block_delta":
                # A signature is nothing anybody reads: all there is of thinking that is left out.
                self.spoken = self.spoken or get_text(get(event, "delta"), "type") != "signature_delta"
            case "content_block_start":
                kind = get_text(get(event, "content_block"), "type")
                self.spoken = self.spoken or (kind is not None and kind.endswith("tool_use"))
                self._compacted = self._compacted or kind == "compaction"
            case "message_start":
                message = get(event, "message")
                self._id, self._model = get_text(message, "id"), get_text(message, "model")
                self._take(get(message, "usage"))
            case "message_delta":
                self._reason = get_text(get(event, "delta"), "stop_reason") or self._reason
                self._take(get(event, "usage"))
                self._compacted = self._compacted or _was_compacted(event)
            case "message_stop":
                self._end = True
            case "content_block_stop" | "ping":
                pass
            case _:
                self._error = read_error(event) or self._error
        return self.spoken

    def _take(self, usage: Any) -> None:
        self._reported.add(usage, _NAMES)
        self._also = read_additional_usage(usage) or self._also
        self._tier = get_text(usage, "service_tier") or self._tier
        self._context = _price_context(usage) or self._context

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        answer = Response(
            id=self._id,
            model=self._model,
            finish_reasons=(self._reason,) if self._reason else (),
            additional_usage=self._also,
            service_tier=self._tier,
            price_context=self._context,
            compacted=self._compacted,
            error=self._error,
            failed=self._error is not None,
            complete=self._end,
        )
        return self._reported.fill(answer, to_usage(self._reported.counts))


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens", model=get_text(body, "model"))


def read_count(answer: Any) -> Response:
    return Response(counted_tokens=get_count(answer, "input_tokens"))


def read_complete_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    limit = get_count(body, "max_tokens_to_sample")
    if limit is not None:
        params["max_tokens"] = limit
    return Request(
        operation="text_completion", model=get_text(body, "model"), stream=get(body, "stream") is True, params=params
    )


class CompletionAccumulator:
    """Folds the legacy text completion stream, which tells no usage."""

    __slots__ = ("_last", "_spoke")

    def __init__(self) -> None:
        self._last = Response(complete=False)
        self._spoke = False

    def add(self, event: Any) -> bool:
        self._spoke = self._spoke or bool(get(event, "completion"))
        match get(event, "type"):
            case "completion":
                self._last = read_response(event)
            case "ping":
                pass
            case _:
                error = read_error(event)
                self._last = replace(self._last, error=error, failed=error is not None)
        return self._spoke

    @property
    def ended(self) -> bool:
        return bool(self._last.finish_reasons)

    def result(self) -> Response:
        return replace(self._last, complete=self.ended)


COMPLETE = WireFormat(
    request=read_complete_request,
    response=read_response,
    accumulator=CompletionAccumulator,
    content=COMPLETE_CONTENT,
    words=MESSAGE_WORDS,
)
MESSAGES = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=MessagesAccumulator,
    content=MESSAGES_CONTENT,
    words=MESSAGE_WORDS,
)
COUNT_TOKENS = WireFormat(request=read_count_request, response=read_count, content=COUNT_TOKENS_CONTENT)
