"""Encoded export requests: made from spans, split when they are too large, shed of content when one span is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.sdk.trace import ReadableSpan

__all__ = ["ENCODINGS", "Payload", "Unencodable", "encode", "halves"]

ENCODINGS = ("none", "gzip", "deflate")
_LEVEL = 6
_CONTENT = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.",
    "gen_ai.retrieval.documents",
    "gen_ai.prompt.variable.",
    "input.value",
    "output.value",
    "llm.input_messages.",
    "llm.output_messages.",
    "llm.prompt_template.",
    "llm.tools.",
    "retrieval.documents.",
    "langfuse.observation.input",
    "langfuse.observation.output",
)
_TRUNCATED = "llmtrace.content.truncated"
_ORIGINAL_SIZE = "llmtrace.content.original_size"
_SPARED = 256
"""Shorter attributes are never worth taking away."""


class Unencodable(ValueError):
    """A span that cannot be brought into a request: ``reason`` is the one of the ledger."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Payload:
    """One request as it goes over the wire."""

    body: bytes
    encoding: str
    """How ``body`` is compressed: one of ``ENCODINGS``."""
    spans: int

    def raw(self) -> bytes:
        """The body, uncompressed."""
        if self.encoding == "gzip":
            return gzip.decompress(self.body)
        return zlib.decompress(self.body) if self.encoding == "deflate" else self.body

    def encoded(self, encoding: str) -> Payload:
        """The same request, compressed that way."""
        return self if encoding == self.encoding else _packed(self.raw(), encoding, self.spans)


def _packed(raw: bytes, encoding: str, spans: int) -> Payload:
    if encoding == "gzip":
        return Payload(gzip.compress(raw, _LEVEL, mtime=0), encoding, spans)
    if encoding == "deflate":
        return Payload(zlib.compress(raw, _LEVEL), encoding, spans)
    return Payload(raw, "none", spans)


def encode(spans: Sequence[ReadableSpan], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
    """Requests of at most ``limit`` bytes before compression, that together hold ``spans``.

    A span that cannot be encoded is told apart, so that it does not take its neighbours with it.
    """
    try:
        request = encode_spans(spans)
        size = request.ByteSize()
    except Exception:  # a value that OTLP has no form for, for one an integer of more than 64 bits
        size = limit + 1
        request = None
    if request is not None and size > limit and len(spans) == 1 and _shed(request, limit):
        size = request.ByteSize()
    if request is not None and size <= limit:
        yield _packed(request.SerializePartialToString(), encoding, len(spans))
    elif len(spans) > 1:
        middle = len(spans) // 2
        yield from encode(spans[:middle], limit, encoding)
        yield from encode(spans[middle:], limit, encoding)
    else:
        yield Unencodable("unencodable" if request is None else "too_large")


def halves(payload: Payload) -> list[Payload]:
    """The two halves of a request that was refused for its size; of a single span, the span without its content.

    Empty when there is nothing left to take away.
    """
    raw = payload.raw()
    request = ExportTraceServiceRequest.FromString(raw)
    places = [(group, scope) for group in request.resource_spans for scope in group.scope_spans]
    total = sum(len(scope.spans) for _, scope in places)
    if total <= 1:
        shed = _shed(request, len(raw) // 2)
        return [_packed(request.SerializePartialToString(), payload.encoding, total)] if shed else []
    parts = []
    for first, last in ((0, total // 2), (total // 2, total)):
        part = _part(request, first, last)
        parts.append(_packed(part.SerializePartialToString(), payload.encoding, last - first))
    return parts


def _part(request: ExportTraceServiceRequest, first: int, last: int) -> ExportTraceServiceRequest:
    part = ExportTraceServiceRequest()
    at = 0
    for group in request.resource_spans:
        made = None
        for scope in group.scope_spans:
            wanted = scope.spans[max(0, first - at) : max(0, last - at)]
            at += len(scope.spans)
            if not wanted:
                continue
            if made is None:
                made = part.resource_spans.add(resource=group.resource, schema_url=group.schema_url)
            made.scope_spans.add(scope=scope.scope, schema_url=scope.schema_url, spans=wanted)
    return part


def _shed(request: ExportTraceServiceRequest, limit: int) -> bool:
    """Take content away from the only span until the request fits: first what is content by name, then what is long.

    True when it fits now.
    """
    span: Span = request.resource_spans[0].scope_spans[0].spans[0]
    original = request.ByteSize()
    content = [pair for pair in span.attributes if pair.key.startswith(_CONTENT) and pair.ByteSize() > _SPARED]
    long = sorted((pair for pair in span.attributes if pair.ByteSize() > _SPARED), key=KeyValue.ByteSize, reverse=True)
    kept = {pair.key: pair for pair in span.attributes if pair.key not in (_TRUNCATED, _ORIGINAL_SIZE)}
    removed = 0
    for pair in [*content, None, *long]:  # all content goes at once; the rest one by one, as far as needed
        if pair is None:
            if span.events and original - removed > limit:
                removed += sum(event.ByteSize() for event in span.events)
                span.dropped_events_count += len(span.events)
                del span.events[:]
            continue
        if pair.key not in kept or (pair not in content and original - removed + 128 <= limit):
            continue
        removed += pair.ByteSize()
        del kept[pair.key]
        span.dropped_attributes_count += 1
    if not removed:
        return False
    attributes = [*(_copy(pair) for pair in kept.values()), KeyValue(key=_TRUNCATED), KeyValue(key=_ORIGINAL_SIZE)]
    attributes[-2].value.bool_value = True
    attributes[-1].value.int_value = original
    del span.attributes[:]
    span.attributes.extend(attributes)
    return bool(request.ByteSize() <= limit)


def _copy(pair: KeyValue) -> KeyValue:
    copy = KeyValue()
    copy.CopyFrom(pair)
    return copy
