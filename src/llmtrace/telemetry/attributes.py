"""Span attributes that describe requests, responses, timings and errors."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from opentelemetry.util.types import AttributeValue

from .._compat.span_attributes import make_encodable
from .._read import put
from ..capture.background import FETCH
from ..capture.failure import error_code, http_status, qualified_name
from ..model import BILLED_OPERATIONS, Counts, is_pinned
from ..model.call_stages import FinishedCall
from . import names
from .content import label_of
from .content_policy import ContentPolicy
from .costs import describe_budget, describe_cost, describe_estimate
from .truncate import dumps

if TYPE_CHECKING:
    from .spans import SpanEmitter

Attributes = dict[str, AttributeValue]


_SPECIAL_PARAMETERS = {"dimensions": names.DIMENSIONS, "reranker.top_k": names.RERANK_TOP_K}
"""Names of the parameters whose attributes are not under ``gen_ai.request.``."""
_NUMBER_TYPES: dict[str, type[int] | type[float]] = {
    **dict.fromkeys(("temperature", "top_p", "frequency_penalty", "presence_penalty"), float),
    **dict.fromkeys(("top_k", "seed", "max_tokens", "choice.count", "dimensions", "reranker.top_k"), int),
}
"""Types that the convention gives to numeric parameters, whatever the caller typed."""
_OPENAI_PROVIDERS = frozenset({"openai", "azure.ai.openai"})
_FILTER_ERROR_CODES = frozenset({"content_filter", "content_policy_violation", "moderation_blocked"})
_OPERATIONS_WITH_USAGE = BILLED_OPERATIONS - {"moderation"}


def describe_request(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add the parameters of the request, and OpenAI's API type and service tier."""
    request = call.request
    for key, value in request.params.items() if "parameters" not in options.content.hidden else ():
        kind = _NUMBER_TYPES.get(key)
        typed = value if kind is None or type(value) is kind else _to_number(value, kind)
        if typed is not None:
            into[_SPECIAL_PARAMETERS.get(key) or names.REQUEST + key] = typed
    if request.vendor_params and "parameters" not in options.content.hidden:
        into[names.REQUEST_PARAMETERS] = dumps(request.vendor_params)
    if request.stream:
        into[names.REQUEST_STREAM] = True
    for name, value in (
        (names.OUTPUT_TYPE, request.output_type),
        (names.PREVIOUS_RESPONSE, request.previous_response_id),
        (names.CONVERSATION, request.conversation_id),
        (names.AGENT_ID, request.agent_id),
        (names.GUARDRAIL, request.guardrail_id),
        (names.KNOWLEDGE_BASE, request.knowledge_base_id),
        (names.BATCH_ID, request.batch_id),
        (names.BATCH_CUSTOM_ID, request.custom_id),
        (names.API, call.wire_format.api),
        (names.RERANK_MODEL, request.model if request.operation == "rerank" else None),
        (names.MODEL_PINNED, None if request.model is None else is_pinned(request.model)),
    ):
        if value is not None:
            into[name] = value
    if request.api_type is not None:
        if call.provider in _OPENAI_PROVIDERS:
            into[names.OPENAI_API_TYPE] = request.api_type
        if request.service_tier is not None and request.service_tier != "auto":
            into[names.OPENAI_REQUEST_TIER] = request.service_tier


def _to_number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    """Return ``value`` with the type of the convention, ``None`` if it has no such form."""
    if type(value) not in (int, float):
        return None
    try:
        number = kind(value)
    except (OverflowError, ValueError):  # too large, infinite or not a number
        return None
    return number if number == value else None


def describe_stream(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add how the stream ended and its latencies in seconds; nothing if the call was not streamed."""
    timing = call.timing
    if timing is None:
        return
    output = call.response.usage and call.response.usage.get("output")
    values = {
        names.STREAM_END: timing.stream_outcome,
        names.STREAM_COMPLETED: timing.stream_outcome == "exhausted",
        names.STREAM_CHUNKS: timing.chunks,
        names.STREAM_AT_EXIT: timing.at_exit or None,
        names.FIRST_CHUNK: timing.first_chunk,
        names.STREAM_FIRST_TOKEN: timing.first_token,
        names.STREAM_SPEED: output / timing.generation_time if output and timing.generation_time else None,
        names.STREAM_GAP_MEAN: timing.gap_mean,
        names.STREAM_GAP_P95: timing.gap_p95,
        names.STREAM_GAP_MAX: timing.gap_max,
        names.STREAM_STALLS: None if timing.gap_mean is None else timing.stalls,
    }
    put(into, values)


def describe_response(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add what the provider returned, and mark a call that the model declined or that a content filter stopped."""
    request, response = call.request, call.response
    for name, value in (
        (names.RESPONSE_ID, response.id or request.response_id),
        (names.RESPONSE_MODEL, label_of(response.model)),
        (names.CONVERSATION, response.conversation_id),
        (names.COUNTED_TOKENS, response.counted_tokens),
        (names.OPENAI_FINGERPRINT, response.fingerprint),
        (names.ERROR_CODE, label_of(response.error)),
    ):
        if value is not None:
            into[name] = value
    if response.compacted:
        into[names.COMPACTED] = True
    if request.operation == FETCH and response.status is not None:
        into[names.RESPONSE_STATUS] = response.status
    if request.api_type is not None and response.service_tier is not None:
        into[names.OPENAI_RESPONSE_TIER] = response.service_tier
    if response.dimensions is not None and request.operation == "embeddings":
        into.setdefault(names.DIMENSIONS, response.dimensions)
    reasons = response.normalized_finish_reasons
    if response.finish_reasons:
        into[names.FINISH_REASONS] = [label_of(reason) or "_other" for reason in reasons]
        into[names.FINISH_REASONS_RAW] = [label_of(reason) or "_other" for reason in response.finish_reasons]
    if response.server_times is not None:
        for stage, seconds in response.server_times.items():
            into[names.SERVER_TIME + stage] = seconds
    filtered = "content_filter" in reasons or (call.error is not None and error_code(call.error) in _FILTER_ERROR_CODES)
    if response.refused or filtered:
        into[names.REFUSAL] = True


def describe_usage(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add the token counts, unless another span already carries them."""
    if not call.usage_on_other_span:
        describe_counts(call, options, into)


def describe_counts(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add the token counts and their source, even if another span carries them too."""
    counts: Counts | None = call.response.usage
    if call.outcome == "blocked":
        return
    if call.request.operation not in _OPERATIONS_WITH_USAGE and not (counts and call.request.operation == FETCH):
        return
    is_billed = counts is not None and not names.BILLED.isdisjoint(counts)
    estimate = call.estimate
    if estimate is not None and not estimate.partial:
        into[names.USAGE_SOURCE] = "estimated"
    else:
        into[names.USAGE_SOURCE] = "missing" if not is_billed else "partial" if call.ended_early else "provider"
    if estimate is not None:
        describe_estimate(call, into)
    if counts is None:
        return
    for field, count in counts.items():
        # Write totals whenever the provider returns them; omit other counts that are zero.
        if count or field in names.TOTALS:
            into[names.USAGE[field]] = count
    if written := counts.get("cache_write"):
        # Write the deprecated name too: most backends read only that one so far.
        into[names.CACHE_CREATION] = written


def describe_http(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add retries, the request id and the remaining rate limits, as the response headers have them."""
    if call.retries > 0:
        into[names.RETRIES] = call.retries
    header = call.headers.get
    if request_id := header("x-request-id") or header("request-id") or header("x-amzn-requestid"):
        into[names.REQUEST_ID] = request_id
    requests = header("x-ratelimit-remaining-requests") or header("anthropic-ratelimit-requests-remaining")
    tokens = header("x-ratelimit-remaining-tokens") or header("anthropic-ratelimit-tokens-remaining")
    for name, count in ((names.REMAINING_REQUESTS, requests), (names.REMAINING_TOKENS, tokens)):
        if count and count.isdecimal() and len(count) < 19:
            into[name] = int(count)


def describe_outcome(call: FinishedCall, options: SpanEmitter, into: Attributes) -> None:
    """Add the outcome, ``error.type``, and the status and code of the response that refused the call."""
    into[names.OUTCOME] = call.outcome
    if call.error_type is None:
        return
    into[names.ERROR_TYPE] = call.error_type
    error = call.error
    if error is None:
        put(into, {names.HTTP_STATUS: call.response.http_status})
    else:
        put(into, {names.HTTP_STATUS: http_status(error), names.ERROR_CODE: label_of(error_code(error))})


def describe_exception(error: BaseException, policy: ContentPolicy, *, with_content: bool) -> Attributes:
    """Return the attributes of the event of an exception.

    Error texts may echo a prompt: message and stack trace are left out unless content is recorded where the event goes,
    or the policy allows error messages.
    """
    event: Attributes = {names.EXCEPTION_TYPE: qualified_name(type(error))}
    if with_content or policy.error_messages:
        event[names.EXCEPTION_MESSAGE] = policy.text(str(error))
        event[names.EXCEPTION_STACKTRACE] = policy.text("".join(traceback.format_exception(error)))
    make_encodable(event)
    return event


Describer = Callable[[FinishedCall, "SpanEmitter", Attributes], None]

COMMON_DESCRIBERS: tuple[Describer, ...] = (describe_stream, describe_http, describe_cost, describe_budget)
"""Describers whose attributes no other instrumentation writes."""
CALL_DESCRIBERS: tuple[Describer, ...] = (
    describe_request,
    describe_response,
    describe_usage,
    *COMMON_DESCRIBERS,
    describe_outcome,
)
