"""Requests, answers, timings and failures as span attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from opentelemetry.trace import Span, Status, StatusCode
from opentelemetry.util.types import AttributeValue

from .._text import encodable
from ..capture.background import FETCH
from ..capture.call import OpenCall
from ..capture.failure import error_code, http_status, qualified_name
from ..model import Counts, is_pinned
from . import names
from .content import exception_texts, label_of
from .content_policy import ContentPolicy
from .costs import describe_budget, describe_cost, describe_estimate
from .fast_attributes import make_encodable
from .truncate import dumps

__all__ = [
    "CALL_DESCRIBERS",
    "COMMON_DESCRIBERS",
    "Attributes",
    "Describer",
    "Options",
    "describe_counts",
    "describe_exception",
]

Attributes = dict[str, AttributeValue]


class Options(Protocol):
    content: ContentPolicy
    """What texts, which may echo a prompt, have to pass."""


_UNPREFIXED = {"dimensions": names.DIMENSIONS}
_OPENAI = frozenset({"openai", "azure.ai.openai"})
_FILTERED = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_COUNTED = frozenset({"chat", "text_completion", "embeddings", "generate_content", "invoke_agent"})


def describe_request(call: OpenCall, options: Options, into: Attributes) -> None:
    request = call.request
    for key, value in request.params.items() if "parameters" not in options.content.hidden else ():
        into[_UNPREFIXED.get(key) or names.REQUEST + key] = value
    if request.vendor_params and "parameters" not in options.content.hidden:
        into[names.REQUEST_PARAMETERS] = dumps(request.vendor_params)
    if request.stream:
        into[names.REQUEST_STREAM] = True
    for name, value in (
        (names.OUTPUT_TYPE, request.output_type),
        (names.PREVIOUS_RESPONSE, request.previous_response_id),
        (names.CONVERSATION, request.conversation_id),
        (names.AGENT_ID, request.agent_id),
        (names.API, call.wire_format.api),
    ):
        if value is not None:
            into[name] = value
    if request.api_type is not None:
        if call.provider in _OPENAI:
            into[names.OPENAI_API_TYPE] = request.api_type
        if request.service_tier is not None and request.service_tier != "auto":
            into[names.OPENAI_REQUEST_TIER] = request.service_tier
    if request.model is not None:
        into[names.MODEL_PINNED] = is_pinned(request.model)


def describe_stream(call: OpenCall, options: Options, into: Attributes) -> None:
    timing = call.timing
    if timing is None:
        return
    into[names.STREAM_END] = timing.stream_outcome
    into[names.STREAM_COMPLETED] = timing.stream_outcome == "exhausted"
    into[names.STREAM_CHUNKS] = timing.chunks
    if timing.at_exit:
        into[names.STREAM_AT_EXIT] = True
    if timing.first_chunk is not None:
        into[names.FIRST_CHUNK] = timing.first_chunk
    if timing.first_token is not None:
        into[names.STREAM_FIRST_TOKEN] = timing.first_token
        output = call.response.usage and call.response.usage.get("output")
        if output and timing.generation_time:
            into[names.STREAM_SPEED] = output / timing.generation_time
    if timing.gap_mean is not None and timing.gap_p95 is not None and timing.gap_max is not None:
        into[names.STREAM_GAP_MEAN] = timing.gap_mean
        into[names.STREAM_GAP_P95] = timing.gap_p95
        into[names.STREAM_GAP_MAX] = timing.gap_max
        into[names.STREAM_STALLS] = timing.stalls


def describe_response(call: OpenCall, options: Options, into: Attributes) -> None:
    request, answer = call.request, call.response
    for name, value in (
        (names.RESPONSE_ID, answer.id or request.response_id),
        (names.RESPONSE_MODEL, label_of(answer.model)),
        (names.CONVERSATION, answer.conversation_id),
        (names.COUNTED_TOKENS, answer.counted_tokens),
        (names.OPENAI_FINGERPRINT, answer.fingerprint),
        (names.ERROR_CODE, label_of(answer.error)),
    ):
        if value is not None:
            into[name] = value
    if answer.dimensions is not None:
        into.setdefault(names.DIMENSIONS, answer.dimensions)
    if answer.finish_reasons:
        into[names.FINISH_REASONS] = [label_of(reason) or "_other" for reason in answer.normalized_finish_reasons]
        into[names.FINISH_REASONS_RAW] = [label_of(reason) or "_other" for reason in answer.finish_reasons]
    if answer.compacted:
        into[names.COMPACTED] = True
    if request.operation == "fetch_response" and answer.status is not None:
        into[names.RESPONSE_STATUS] = answer.status
    if request.api_type is not None and answer.service_tier is not None:
        into[names.OPENAI_RESPONSE_TIER] = answer.service_tier


def describe_refusal(call: OpenCall, options: Options, into: Attributes) -> None:
    """Whether the model declined, or a filter stopped question or answer: not an end like any other."""
    answer = call.response
    filtered = "content_filter" in answer.normalized_finish_reasons
    if answer.refused or filtered or (call.error is not None and error_code(call.error) in _FILTERED):
        into[names.REFUSAL] = True


def describe_usage(call: OpenCall, options: Options, into: Attributes) -> None:
    if not call.usage_on_other_span:
        describe_counts(call, options, into)


def describe_counts(call: OpenCall, options: Options, into: Attributes) -> None:
    """Describe the usage, whoever else describes it too."""
    counts: Counts | None = call.response.usage
    if call.outcome == "blocked":
        return
    if call.request.operation not in _COUNTED and not (counts and call.request.operation == FETCH):
        return
    told = counts is not None and not names.BILLED.isdisjoint(counts)
    guess = call.estimate
    if guess is not None and not guess.partial:
        into[names.USAGE_SOURCE] = "estimated"
    else:
        into[names.USAGE_SOURCE] = "missing" if not told else "partial" if call.ended_early else "provider"
    if guess is not None:
        describe_estimate(call, into)
    if counts is None:
        return
    for field, count in counts.items():
        # Totals are written when told; parts that are zero stay off the span.
        if count or field in names.TOTALS:
            into[names.USAGE[field]] = count
    if written := counts.get("cache_write"):
        # The old name too, for one deprecation cycle: most backends read only that.
        into[names.CACHE_CREATION] = written


def describe_http(call: OpenCall, options: Options, into: Attributes) -> None:
    if call.retries > 0:
        into[names.RETRIES] = call.retries
    told = call.headers
    request_id = told.get("x-request-id") or told.get("request-id") or told.get("x-amzn-requestid")
    if request_id:
        into[names.REQUEST_ID] = request_id
    requests = told.get("x-ratelimit-remaining-requests") or told.get("anthropic-ratelimit-requests-remaining")
    if requests and (left := _count(requests)) is not None:
        into[names.REMAINING_REQUESTS] = left
    tokens = told.get("x-ratelimit-remaining-tokens") or told.get("anthropic-ratelimit-tokens-remaining")
    if tokens and (left := _count(tokens)) is not None:
        into[names.REMAINING_TOKENS] = left


def _count(value: str) -> int | None:
    return int(value) if value.isdecimal() and len(value) < 19 else None


def describe_outcome(call: OpenCall, options: Options, into: Attributes) -> None:
    """Status, ``error.type`` and one exception event. Texts, which may echo a prompt, only when asked for."""
    into[names.OUTCOME] = call.outcome
    if call.error_type is None:
        return
    into[names.ERROR_TYPE] = call.error_type
    error = call.error
    if error is None:
        if call.response.http_status is not None:
            into[names.HTTP_STATUS] = call.response.http_status
        call.span.set_status(Status(StatusCode.ERROR))
        return
    status, code = http_status(error), label_of(error_code(error))
    if status is not None:
        into[names.HTTP_STATUS] = status
    if code is not None:
        into[names.ERROR_CODE] = code
    describe_exception(call.span, error, options, call.call_context.capture_content)


def describe_exception(span: Span, error: BaseException, options: Options, mode: str | None = None) -> None:
    event: Attributes = {names.EXCEPTION_TYPE: qualified_name(type(error))}
    text = type(error).__qualname__
    texts = exception_texts(error, options.content.with_mode(mode))
    if texts is not None:
        text, event[names.EXCEPTION_STACKTRACE] = texts
        event[names.EXCEPTION_MESSAGE] = text
    make_encodable(event)
    span.add_event(names.EXCEPTION, event)
    span.set_status(Status(StatusCode.ERROR, encodable(text)))


Describer = Callable[[OpenCall, Options, Attributes], None]

COMMON_DESCRIBERS: tuple[Describer, ...] = (describe_stream, describe_http, describe_cost, describe_budget)
"""What no other instrumentation writes."""
CALL_DESCRIBERS: tuple[Describer, ...] = (
    describe_request,
    describe_response,
    describe_refusal,
    describe_usage,
    *COMMON_DESCRIBERS,
    describe_outcome,
)
