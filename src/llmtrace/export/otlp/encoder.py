"""OTLP encoder: encodes batches, splits requests that are too large, and drops content of items that are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from ...telemetry import names
from ..signals import Signal
from .payload import Payload, Unencodable, pack

_CONTENT = (
    names.INPUT_MESSAGES,
    names.OUTPUT_MESSAGES,
    names.SYSTEM_INSTRUCTIONS,
    names.TOOL_DEFINITIONS,
    names.TOOL_ARGUMENTS,
    names.TOOL_RESULT,
    names.QUERY,
    names.RETRIEVED,
    names.DOCUMENTS,
    names.RERANK_QUERY,
    names.RERANK_INPUT,
    names.RERANK_OUTPUT,
    names.PROMPT_TEMPLATE,
    names.PROMPT_VARIABLE,
    names.OI_EMBEDDINGS,
    names.OI_INPUT,
    names.OI_OUTPUT,
)
_MIN_DROPPED_BYTES = 256
"""Attributes of at most this size are never dropped."""


class OtlpEncoder:
    """The encoder of one signal."""

    def __init__(self, signal: Signal) -> None:
        signal.load_encoder()
        self.signal = signal

    def encode(self, batch: Sequence[Any], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        """Encode a batch as requests of at most ``limit`` bytes each before compression.

        Items that cannot be encoded are yielded apart, so that the rest of the batch is still sent.
        """
        try:
            request = self.signal.encode(batch)
            request.ByteSize()
        except Exception:  # a value that OTLP cannot represent, such as an integer of more than 64 bits
            middle = len(batch) // 2
            if middle == 0:
                yield Unencodable("unencodable", self.signal.count(batch))
                return
            yield from self.encode(batch[:middle], limit, encoding)
            yield from self.encode(batch[middle:], limit, encoding)
        else:
            yield from self._encode_within(request, limit, encoding)

    def _encode_within(self, request: Any, limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        count = self._count(request)
        if request.ByteSize() <= limit or (count == 1 and self._drop_content(request, limit)):
            yield pack(request.SerializePartialToString(), encoding, count)
        elif count > 1:
            for half in self._halve(request, count):
                yield from self._encode_within(half, limit, encoding)
        else:
            yield Unencodable("too_large", count)

    def join(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Merge payloads into one request: concatenated protobuf messages parse as one merged message."""
        if len(payloads) == 1:
            return payloads
        raw = b"".join(payload.raw() for payload in payloads)
        return [pack(raw, payloads[0].encoding, sum(payload.items for payload in payloads))]

    def split(self, payload: Payload) -> list[Payload]:
        """Split a request that was refused for its size into halves, or drop the content of its only item.

        Return an empty list if the request cannot be made smaller.
        """
        raw = payload.raw()
        request = self.signal.request.FromString(raw)
        count = self._count(request)
        parts = self._halve(request, count) if count > 1 else [request]
        if count == 1 and not self._drop_content(request, len(raw) // 2):
            return []
        return [pack(part.SerializePartialToString(), payload.encoding, self._count(part)) for part in parts]

    def _halve(self, request: Any, count: int) -> list[Any]:
        return [self._slice(request, 0, count // 2), self._slice(request, count // 2, count)]

    def _slice(self, request: Any, start: int, stop: int) -> Any:
        part = self.signal.request()
        offset = 0
        last_group = target_group = None
        for group, scope, items in self._scopes(request):
            chosen = []
            for item in items:
                if (piece := _slice_item(item, start - offset, stop - offset)) is not None:
                    chosen.append(piece)
                offset += _count_items(item)
            if not chosen:
                continue
            if group is not last_group:
                last_group = group
                target_group = getattr(part, self.signal.groups).add(
                    resource=group.resource, schema_url=group.schema_url
                )
            target_scope = getattr(target_group, self.signal.scopes).add(scope=scope.scope, schema_url=scope.schema_url)
            getattr(target_scope, self.signal.items).extend(chosen)
        return part

    def _count(self, request: Any) -> int:
        return sum(_count_items(item) for *_, items in self._scopes(request) for item in items)

    def _scopes(self, request: Any) -> Iterator[tuple[Any, Any, Any]]:
        """Yield each scope of a request, after its resource and before its items."""
        for group in getattr(request, self.signal.groups):
            for scope in getattr(group, self.signal.scopes):
                yield group, scope, getattr(scope, self.signal.items)

    def _drop_content(self, request: Any, limit: int) -> bool:
        """Drop content of the only item until the request fits. Return True if it fits now."""
        item = next(item for *_, items in self._scopes(request) for item in items)
        return hasattr(item, "dropped_attributes_count") and _drop_item_content(request, item, limit)


def _data_points(item: Any) -> Any:
    """Return the data points of a metric; ``None`` for a span or log record, which counts as one."""
    if not hasattr(item, "exponential_histogram"):
        return None
    kind = item.WhichOneof("data")
    return None if kind is None else getattr(item, kind).data_points


def _count_items(item: Any) -> int:
    points = _data_points(item)
    return 1 if points is None else len(points)


def _slice_item(item: Any, start: int, stop: int) -> Any:
    """Return a metric with only its data points from ``start`` to ``stop``, or ``None`` if none remain.

    A span or log record is returned complete.
    """
    if start >= _count_items(item) or stop <= 0:
        return None
    if _data_points(item) is None:
        return item
    part = type(item)()
    part.CopyFrom(item)
    points = _data_points(part)
    del points[max(0, stop) :]
    del points[: max(0, start)]
    return part


def _drop_item_content(request: Any, item: Any, limit: int) -> bool:
    """Drop all content, then the events, then the longest attributes of the only item until the request fits.

    Return True if it fits now.
    """
    original = request.ByteSize()
    droppable = sorted(
        (pair for pair in item.attributes if pair.ByteSize() > _MIN_DROPPED_BYTES), key=KeyValue.ByteSize, reverse=True
    )
    dropped = {pair.key: pair.ByteSize() for pair in droppable if pair.key.startswith(_CONTENT)}
    remaining = original - sum(dropped.values())
    events = getattr(item, "events", ())
    if events and remaining > limit:
        remaining -= sum(event.ByteSize() for event in events)
        item.dropped_events_count += len(events)
        del item.events[:]
    for pair in droppable:
        if remaining + 128 <= limit:  # room for the truncation attributes
            break
        if pair.key not in dropped:
            dropped[pair.key] = pair.ByteSize()
            remaining -= pair.ByteSize()
    if remaining == original:
        return False
    _mark_truncated(item, set(dropped), original)
    return bool(request.ByteSize() <= limit)


def _mark_truncated(item: Any, dropped: set[str], original: int) -> None:
    marks = {names.CONTENT_TRUNCATED, names.CONTENT_SIZE}
    remaining_pairs = [
        KeyValue(key=pair.key, value=pair.value) for pair in item.attributes if pair.key not in dropped | marks
    ]
    item.dropped_attributes_count += len(dropped)
    del item.attributes[:]
    item.attributes.extend(remaining_pairs)
    item.attributes.add(key=names.CONTENT_TRUNCATED).value.bool_value = True
    item.attributes.add(key=names.CONTENT_SIZE).value.int_value = original
