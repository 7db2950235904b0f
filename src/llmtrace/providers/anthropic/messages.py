"""Anthropic messages: readers of requests, responses and stream events."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..._read import as_mapping, get, get_count, get_text, iter_list, put, select
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._common import read_count, read_count_request
from .._texts import message_texts
from .._usage import OPENAI, Names, Reported, add_cache_writes
from ..bedrock.headers import HEADERS
from .messages_content import COMPLETE_CONTENT, COUNT_TOKENS_CONTENT, DELTA_FIELDS, MESSAGES_CONTENT

__all__ = ["COMPLETE", "COUNT_TOKENS", "MESSAGES"]

_PARAMS = frozenset({"max_tokens", "temperature", "top_p", "top_k", "stop_sequences"})
_OUTPUT_FORMATS = frozenset({"output_config", "output_format"})


def read_request(body: Any) -> Request:
    request = Request("chat", get_text(body, "model"), get(body, "stream") is True, select(body, _PARAMS))
    if type(body) is not dict or not _OUTPUT_FORMATS.isdisjoint(body):
        config = get(body, "output_config")
        effort = get_text(config, "effort")
        if effort:
            request.params["reasoning.level"] = effort
        if get_text(get(config, "format") or get(body, "output_format"), "type") == "json_schema":
            request.output_type = "json"
    return request


_NAMES: Names = {
    **OPENAI,  # for gateways that pass on another vendor's names
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


def to_usage(reported: Counts) -> Counts | None:
    """Return the counts with ``input`` as the total.

    Anthropic counts cached tokens separately from ``input_tokens``. With the total, ``input`` means the same for every
    provider. Source: https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching.
    """
    counts = dict(reported)
    fresh = counts.pop("fresh", None)
    add_cache_writes(counts)
    if fresh is not None and (fresh or "input" not in reported):
        counts["input"] = fresh + counts.get("cache_read", 0) + counts.get("cache_write", 0)
    return counts or None


_SEPARATELY_BILLED = ("advisor_message", "compaction")
"""Types of iterations that are billed but not included in the totals."""


def read_additional_usage(usage: Any) -> tuple[tuple[str | None, Counts], ...]:
    """Return usage that is billed but not included in the totals: of an advisor model, of a compaction."""
    additional: list[tuple[str | None, Counts]] = []
    for step in iter_list(usage, "iterations"):
        kind = get_text(step, "type")
        if kind in _SEPARATELY_BILLED:
            model = get_text(step, "model") or kind if kind == "advisor_message" else None
            additional.append((model, to_usage(Reported(step, _NAMES).counts) or {}))
    return tuple(additional)


_PRICE_FIELDS = frozenset({"speed", "inference_geo"})
_STANDARD_VALUES = frozenset({"standard", "not_available", "global", "default"})


def _price_context(usage: Any) -> dict[str, str]:
    context = select(usage, _PRICE_FIELDS)
    for step in iter_list(usage, "iterations"):
        kind = get_text(step, "type")
        if kind is not None and kind not in ("message", *_SEPARATELY_BILLED):
            context["iterations"] = kind  # may be billed in addition to the totals
    return {key: value for key, value in context.items() if isinstance(value, str) and value not in _STANDARD_VALUES}


def _was_compacted(response: Any) -> bool:
    """Return true if the server cleared or summarized a part of the conversation."""
    return next(iter_list(get(response, "context_management"), "applied_edits"), None) is not None


def read_response(response: Any) -> Response:
    response = as_mapping(response)
    usage = as_mapping(get(response, "usage"))
    reported = Reported(usage, _NAMES)
    reason = get_text(response, "stop_reason")
    result = Response(
        id=get_text(response, "id"),
        model=get_text(response, "model"),
        finish_reasons=(reason,) if reason else (),
        additional_usage=read_additional_usage(usage),
        service_tier=get_text(usage, "service_tier"),
        price_context=_price_context(usage),
        compacted=_was_compacted(response)
        or any(get_text(block, "type") == "compaction" for block in iter_list(response, "content")),
    )
    return reported.fill(result, to_usage(reported.counts))


@dataclass(slots=True, eq=False)
class MessagesAccumulator:
    """Accumulator of messages stream events."""

    _response: Response = field(default_factory=lambda: Response(complete=False))
    _reported: Reported = field(default_factory=Reported)
    _usage_is_final: bool = False
    skips_text: bool = False

    def add(self, event: Any) -> bool | str:
        if self.skips_text:
            try:
                # Fast path: nearly every event is an SDK model that extends a block.
                fields = event.__dict__
                if fields["type"] == "content_block_delta":
                    delta = fields["delta"].__dict__
                    return delta.get(DELTA_FIELDS.get(delta["type"])) or True
            except (AttributeError, KeyError, TypeError):
                pass
        response = self._response
        match get(event, "type"):
            case "content_block_delta":
                # Skip signatures, which are not text: they are all that is sent of omitted thinking.
                self.skips_text = self.skips_text or get_text(get(event, "delta"), "type") != "signature_delta"
            case "content_block_start":
                kind = get_text(get(event, "content_block"), "type")
                self.skips_text = self.skips_text or (kind is not None and kind.endswith("tool_use"))
                response.compacted = response.compacted or kind == "compaction"
            case "message_start":
                message = get(event, "message")
                response.id, response.model = get_text(message, "id"), get_text(message, "model")
                self._add_usage(get(message, "usage"))
            case "message_delta":
                if reason := get_text(get(event, "delta"), "stop_reason"):
                    response.finish_reasons = (reason,)
                usage = get(event, "usage")
                self._add_usage(usage)
                has_output = get_count(usage, "output_tokens") is not None
                self._usage_is_final = bool(response.finish_reasons) and has_output
                response.compacted = response.compacted or _was_compacted(event)
            case "message_stop":
                response.complete = True
            case "content_block_stop" | "ping":
                pass
            case _:
                response.error = read_error(event) or response.error
                response.failed = response.error is not None
        return self.skips_text

    def _add_usage(self, usage: Any) -> None:
        response = self._response
        self._reported.add(usage, _NAMES)
        response.additional_usage = read_additional_usage(usage) or response.additional_usage
        response.service_tier = get_text(usage, "service_tier") or response.service_tier
        response.price_context = _price_context(usage) or response.price_context

    @property
    def ended(self) -> bool:
        # Only message_stop, which reports nothing, follows: LiteLLM closes the stream before it.
        return self._response.complete or self._usage_is_final

    def result(self) -> Response:
        return self._reported.fill(replace(self._response), to_usage(self._reported.counts))


def read_complete_request(body: Any) -> Request:
    params = select(body, _PARAMS)
    put(params, {"max_tokens": get_count(body, "max_tokens_to_sample")})
    return Request("text_completion", get_text(body, "model"), get(body, "stream") is True, params)


@dataclass(slots=True, eq=False)
class CompletionAccumulator:
    """Accumulator of the legacy text completion stream, which reports no usage."""

    _last: Response = field(default_factory=lambda: Response(complete=False))
    _saw_content: bool = False

    def add(self, event: Any) -> bool:
        self._saw_content = self._saw_content or bool(get(event, "completion"))
        match get(event, "type"):
            case "completion":
                self._last = read_response(event)
            case "ping":
                pass
            case _:
                error = read_error(event)
                self._last = replace(self._last, error=error, failed=error is not None)
        return self._saw_content

    @property
    def ended(self) -> bool:
        return bool(self._last.finish_reasons)

    def result(self) -> Response:
        return replace(self._last, complete=self.ended)


COMPLETE = WireFormat(read_complete_request, read_response, CompletionAccumulator, COMPLETE_CONTENT, message_texts)
# With the headers of Bedrock, which has Anthropic's models too.
MESSAGES = WireFormat(read_request, read_response, MessagesAccumulator, MESSAGES_CONTENT, message_texts, HEADERS)
COUNT_TOKENS = WireFormat(request=read_count_request, response=read_count, content=COUNT_TOKENS_CONTENT)
