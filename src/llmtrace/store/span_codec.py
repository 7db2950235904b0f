"""Stored form of a span: JSON, compressed with a dictionary of the names that every span repeats."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan


# Frequent strings come last: zlib encodes near matches in fewer bits. A released dictionary never changes: a new one
# gets the next number. Its file is one line, and has no line break at the end.
_DICTIONARIES = {number: Path(__file__).with_name(f"dictionary_{number}.txt").read_bytes() for number in (1,)}
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
