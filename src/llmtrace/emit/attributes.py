"""Requests, answers and timings as span attributes."""

from __future__ import annotations

import traceback
from typing import Any

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.util.types import AttributeValue

from ..facts import Request, Response, Timing, Usage
from . import names

__all__ = ["describe_answer", "describe_request", "describe_stream", "normal_reason", "record_error", "start_span"]

Attributes = dict[str, AttributeValue]

_REASONS = {
    "tool_calls": "tool_call",
    "function_call": "tool_call",
    "tool_use": "tool_call",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "refusal": "content_filter",
    "failed": "error",
    "cancelled": "error",
}
_UNPREFIXED = {"dimensions": names.DIMENSIONS}
_COUNTED = frozenset({"chat", "text_completion", "embeddings", "generate_content"})


def normal_reason(reason: str) -> str:
    """The convention's word for a vendor's finish reason; an unknown one stays as it is."""
    return _REASONS.get(reason, reason)


def start_span(tracer: Tracer, request: Request, provider: str, server: tuple[str, int] | None) -> Span:
    """Start the span with what samplers may see."""
    attributes: Attributes = {names.OPERATION: request.operation, names.PROVIDER: provider}
    if request.model is not None:
        attributes[names.REQUEST_MODEL] = request.model
    if server is not None:
        attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = server
    name = request.operation if request.model is None else request.operation + " " + request.model
    return tracer.start_span(name, kind=SpanKind.CLIENT, attributes=attributes)


def describe_request(request: Request, into: Attributes) -> None:
    for key, value in request.params.items():
        into[_UNPREFIXED.get(key) or names.REQUEST + key] = value
    if request.stream:
        into[names.REQUEST_STREAM] = True
    if request.output_type is not None:
        into[names.OUTPUT_TYPE] = request.output_type
    if request.api_type is not None:
        into[names.OPENAI_API_TYPE] = request.api_type
        if request.service_tier is not None and request.service_tier != "auto":
            into[names.OPENAI_REQUEST_TIER] = request.service_tier
    if request.previous_response_id is not None:
        into[names.PREVIOUS_RESPONSE] = request.previous_response_id
    if request.conversation_id is not None:
        into[names.CONVERSATION] = request.conversation_id


def describe_answer(request: Request, answer: Response, into: Attributes, *, partial: bool, usage: bool) -> None:
    for name, value in (
        (names.RESPONSE_ID, answer.id),
        (names.RESPONSE_MODEL, answer.model),
        (names.CONVERSATION, answer.conversation_id),
        (names.COUNTED_TOKENS, answer.counted_tokens),
    ):
        if value is not None:
            into[name] = value
    if answer.dimensions is not None:
        into.setdefault(names.DIMENSIONS, answer.dimensions)
    if answer.finish_reasons:
        into[names.FINISH_REASONS] = [_REASONS.get(reason, reason) for reason in answer.finish_reasons]
        into[names.FINISH_REASONS_RAW] = answer.finish_reasons
    if answer.compacted:
        into[names.COMPACTED] = True
    if request.operation == "fetch_response" and answer.status is not None:
        into[names.RESPONSE_STATUS] = answer.status
    if request.api_type is not None and answer.service_tier is not None:
        into[names.OPENAI_RESPONSE_TIER] = answer.service_tier
    if answer.fingerprint is not None:
        into[names.OPENAI_FINGERPRINT] = answer.fingerprint
    if answer.error is not None:
        into[names.ERROR_CODE] = answer.error
    if usage and request.operation in _COUNTED:
        _describe_usage(answer.usage, into, partial=partial)


def _describe_usage(usage: Usage | None, into: Attributes, *, partial: bool) -> None:
    into[names.USAGE_SOURCE] = "missing" if usage is None else "partial" if partial else "provider"
    if usage is None:
        return
    if usage.input is not None:
        into[names.INPUT_TOKENS] = usage.input
    if usage.output is not None:
        into[names.OUTPUT_TOKENS] = usage.output
    if usage.cache_write:
        # The old name too, for one deprecation cycle: most backends read only that.
        into[names.CACHE_WRITE] = into[names.CACHE_CREATION] = usage.cache_write
    # Parts that are zero stay off the span.
    for name, count in (
        (names.CACHE_READ, usage.cache_read),
        (names.REASONING, usage.reasoning),
        (names.AUDIO_INPUT, usage.audio_input),
        (names.AUDIO_OUTPUT, usage.audio_output),
        (names.IMAGE_INPUT, usage.image_input),
        (names.CACHE_WRITE_5M, usage.cache_write_5m),
        (names.CACHE_WRITE_1H, usage.cache_write_1h),
        (names.WEB_SEARCHES, usage.web_searches),
    ):
        if count:
            into[name] = count


def describe_stream(timing: Timing, output: int | None, into: Attributes) -> None:
    into[names.STREAM_END] = timing.end
    into[names.STREAM_COMPLETED] = timing.end == "exhausted"
    into[names.STREAM_CHUNKS] = timing.chunks
    if timing.at_exit:
        into[names.STREAM_AT_EXIT] = True
    if timing.first_chunk is not None:
        into[names.FIRST_CHUNK] = timing.first_chunk
    if timing.first_token is not None:
        into[names.STREAM_FIRST_TOKEN] = timing.first_token
        if output and timing.speaking:
            into[names.STREAM_SPEED] = output / timing.speaking
    if timing.gap_mean is not None and timing.gap_p95 is not None and timing.gap_max is not None:
        into[names.STREAM_GAP_MEAN] = timing.gap_mean
        into[names.STREAM_GAP_P95] = timing.gap_p95
        into[names.STREAM_GAP_MAX] = timing.gap_max
        into[names.STREAM_STALLS] = timing.stalls


def record_error(span: Span, error: BaseException, into: Attributes, *, messages: bool) -> None:
    """Status, ``error.type`` and one exception event. Texts, which may echo a prompt, only when asked for."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    status = http_status(error)
    into[names.ERROR_TYPE] = name if status is None else str(status)
    if status is not None:
        into[names.HTTP_STATUS] = status
    code = error_code(error)
    if code is not None:
        into[names.ERROR_CODE] = code
    event: Attributes = {names.EXCEPTION_TYPE: name}
    if messages:
        event[names.EXCEPTION_MESSAGE] = str(error)
        event[names.EXCEPTION_STACKTRACE] = "".join(traceback.format_exception(error))
    span.add_event(names.EXCEPTION, event)
    span.set_status(Status(StatusCode.ERROR, str(error) if messages else kind.__qualname__))


def http_status(error: BaseException) -> int | None:
    """The status of the answer that was an error; an error inside a stream that began well has none."""
    status = getattr(error, "status_code", None)
    return status if isinstance(status, int) and status >= 400 else None


def error_code(error: BaseException) -> str | None:
    body: Any = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else None
    inner = inner if isinstance(inner, dict) else {}
    for code in (getattr(error, "code", None), inner.get("code"), getattr(error, "type", None), inner.get("type")):
        if isinstance(code, str) and code:
            return code
    return None
