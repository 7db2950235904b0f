"""Stored form of a span: JSON, compressed with a dictionary of the names that every span repeats."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


__all__ = ["StoredSpan", "pack", "record", "unpack"]

# Frequent strings come last: zlib encodes near matches in fewer bits. A released dictionary never changes: a new one
# gets the next number.
_DICTIONARIES = {
    1: (
        b'","llmtrace.budget.name":"llmtrace.tag.tag.tags":["llmtrace.cost.unpriced_reason":"unknown_model'
        b'exception.type":"exception.stacktrace":"exception.message":"http.response.status_code":error.type":"'
        b'llmtrace.error.code":"rate_limit_error"gen_ai.embeddings.dimension.count":embeddings text-embedding-3-'
        b'gen_ai.request.reasoning.level":"gen_ai.request.top_p":gen_ai.usage.reasoning.output_tokens":'
        b'gen_ai.usage.cache_write.input_tokens":gen_ai.usage.cache_creation.input_tokens":'
        b'"llmtrace.request.repeated_chars":"llmtrace.request.blank_chars":"llmtrace.request.chars":'
        b'"llmtrace.request.prefix_chars":"llmtrace.request.prefix_hash":"'
        b'"llmtrace.request.near_hash":"llmtrace.request.hash":"'
        b'"llmtrace.prompt.hash":"sha256:"gen_ai.prompt.version":"gen_ai.prompt.name":"session.id":"user.id":"'
        b'"llmtrace.tenant":"metadata":"{\\"feature\\":\\"llmtrace.feature":"llmtrace.request_id":"req_'
        b'llmtrace.ratelimit.remaining_tokens":llmtrace.ratelimit.remaining_requests":llmtrace.retry.count":1,'
        b'"openai.api.type":"responses"openai.api.type":"chat_completions"openai.response.service_tier":"default"'
        b'openai.response.system_fingerprint":"fp_"gen_ai.output.type":"json","gen_ai.request.max_tokens":'
        b'gen_ai.request.temperature":0.,"llmtrace.stream.end":"exhausted","llmtrace.stream.completed":true,'
        b'"llmtrace.stream.chunks":,"gen_ai.request.stream":true,"gen_ai.response.time_to_first_chunk":0.'
        b',"llmtrace.stream.time_to_first_token":0.,"llmtrace.stream.tokens_per_second":'
        b',"llmtrace.stream.time_per_output_chunk.mean":0.0,"llmtrace.stream.time_per_output_chunk.p95":0.0'
        b',"llmtrace.stream.time_per_output_chunk.max":0.,"llmtrace.stream.stalls":0,"gen_ai.usage.cost":0.0'
        b',"llm.cost.total":0.0,"llm.cost.prompt":0.0,"llm.cost.completion":0.0,"llm.cost.prompt_details.input":0.0'
        b',"llm.cost.prompt_details.cache_read":0.0,"llm.cost.completion_details.output":0.0'
        b',"llmtrace.cost.exact":"0.0,"llmtrace.cost.source":"catalog","llmtrace.cost.catalog_version":"20'
        b'","llmtrace.cost.model":"llmtrace.model.pinned":true,"llmtrace.api":"llmtrace.anthropic"llmtrace.openai"'
        b'name":"generate_content gemini-2.5-name":"chat claude-sonnet-4-5"name":"chat gpt-"generate_content"'
        b'","gen_ai.provider.name":"gcp.gemini"gen_ai.provider.name":"anthropic"server.address":"api.anthropic.com"'
        b'"attributes":{"gen_ai.operation.name":"chat","gen_ai.provider.name":"openai","gen_ai.request.model":"gpt-'
        b'","server.address":"api.openai.com","server.port":443,"gen_ai.response.id":"chatcmpl-'
        b'","gen_ai.response.model":"gpt-","gen_ai.response.finish_reasons":["tool_call"],"length"["stop"]'
        b',"llmtrace.response.finish_reasons_raw":["end_turn"]["stop"],"llmtrace.usage.source":"provider",'
        b'"gen_ai.usage.input_tokens":,"gen_ai.usage.cache_read.input_tokens":,"gen_ai.usage.output_tokens":'
        b',"llmtrace.outcome":"ok"},"kind":"CLIENT","scope":["llmtrace.openai","0.1.0"]'
    ),
}
_NEWEST = max(_DICTIONARIES)


@dataclass(frozen=True, slots=True)
class StoredSpan:
    """One span of the store. Times are nanoseconds since the epoch."""

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    started: int
    ended: int
    kind: str = "INTERNAL"
    status: str = "UNSET"
    status_text: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    links: tuple[Mapping[str, Any], ...] = ()
    scope: tuple[str, str | None] = ("", None)
    resource: Mapping[str, Any] = field(default_factory=dict)
    state: str = ""
    remote: bool = False
    """True if the parent is a span of another process."""


def record(span: ReadableSpan) -> StoredSpan:
    """Convert the SDK's span to plain values."""
    context = span.get_span_context()
    assert context is not None  # the type allows a span without context; processors never receive one
    scope = span.instrumentation_scope
    return StoredSpan(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        parent_id=None if span.parent is None else f"{span.parent.span_id:016x}",
        name=span.name,
        started=span.start_time or 0,
        ended=span.end_time or span.start_time or 0,
        kind=span.kind.name,
        status=span.status.status_code.name,
        status_text=span.status.description,
        attributes=_plain(span.attributes),
        events=tuple(
            {"name": event.name, "time": event.timestamp, "attributes": _plain(event.attributes)}
            for event in span.events
        ),
        links=tuple(
            {
                "trace_id": f"{link.context.trace_id:032x}",
                "span_id": f"{link.context.span_id:016x}",
                "attributes": _plain(link.attributes),
            }
            for link in span.links
        ),
        scope=("", None) if scope is None else (scope.name, scope.version),
        resource=_plain(span.resource.attributes),
        state=context.trace_state.to_header() if context.trace_state else "",
        remote=span.parent is not None and span.parent.is_remote,
    )


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in (attributes or {}).items()}


def pack(span: StoredSpan) -> bytes:
    """Encode everything of a span that has no column of its own."""
    content: dict[str, Any] = {"name": span.name, "attributes": span.attributes, "kind": span.kind, "scope": span.scope}
    if span.status != "UNSET":
        content["status"] = [span.status, span.status_text]
    for key, value in (("events", span.events), ("links", span.links), ("state", span.state), ("remote", span.remote)):
        if value:
            content[key] = value
    if span.started % 1000 or span.ended % 1000:
        content["ns"] = [span.started % 1000, span.ended % 1000]  # the columns hold microseconds only
    # Attributes may hold values that JSON cannot encode, such as bytes: they must not lose the span.
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, default=repr)
    packer = zlib.compressobj(6, zlib.DEFLATED, -15, 8, zlib.Z_DEFAULT_STRATEGY, _DICTIONARIES[_NEWEST])
    return bytes([_NEWEST]) + packer.compress(text.encode("utf-8", "replace")) + packer.flush()


def unpack(body: bytes) -> dict[str, Any]:
    """Decode the body of a span."""
    content: dict[str, Any] = json.loads(zlib.decompressobj(-15, _DICTIONARIES[body[0]]).decompress(body[1:]))
    return content
