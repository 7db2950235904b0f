"""Export requests: made from a batch, split when they are too large, shed of content when one item is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from ...telemetry import names
from ..signals import Signal
from .payload import Payload, Unencodable, pack

__all__ = ["OtlpEncoder"]

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
_SPARED = 256
"""Shorter attributes are never worth taking away."""


class OtlpEncoder:
    """The export requests of one signal."""

    def __init__(self, signal: Signal) -> None:
        signal.load_encoder()
        self.signal = signal

    def encode(self, batch: Sequence[Any], limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        """Requests of at most ``limit`` bytes before compression, that together hold the batch.

        What cannot be encoded is told apart, so that it does not take its neighbours with it.
        """
        try:
            request = self.signal.encode(batch)
            request.ByteSize()
        except Exception:  # a value that OTLP has no form for, for one an integer of more than 64 bits
            middle = len(batch) // 2
            if middle == 0:
                yield Unencodable("unencodable", self.signal.count(batch))
                return
            yield from self.encode(batch[:middle], limit, encoding)
            yield from self.encode(batch[middle:], limit, encoding)
        else:
            yield from self._fitting(request, limit, encoding)

    def _fitting(self, request: Any, limit: int, encoding: str) -> Iterator[Payload | Unencodable]:
        count = self._count(request)
        if request.ByteSize() <= limit or (count == 1 and self._drop_content(request, limit)):
            yield pack(request.SerializePartialToString(), encoding, count)
        elif count > 1:
            for half in self._cut(request, count):
                yield from self._fitting(half, limit, encoding)
        else:
            yield Unencodable("too_large", count)

    def join(self, payloads: Sequence[Payload]) -> Sequence[Payload]:
        """Return one request that holds what ``payloads`` hold: protobuf messages in a row are one message."""
        if len(payloads) == 1:
            return payloads
        raw = b"".join(payload.raw() for payload in payloads)
        return [pack(raw, payloads[0].encoding, sum(payload.items for payload in payloads))]

    def split(self, payload: Payload) -> list[Payload]:
        """The two halves of a request that was refused for its size; of a single item, the item without its content.

        Empty when there is nothing left to take away.
        """
        raw = payload.raw()
        request = self.signal.request.FromString(raw)
        count = self._count(request)
        parts = self._cut(request, count) if count > 1 else [request]
        if count == 1 and not self._drop_content(request, len(raw) // 2):
            return []
        return [pack(part.SerializePartialToString(), payload.encoding, self._count(part)) for part in parts]

    def _cut(self, request: Any, count: int) -> list[Any]:
        return [self._part(request, 0, count // 2), self._part(request, count // 2, count)]

    def _part(self, request: Any, first: int, last: int) -> Any:
        part = self.signal.request()
        at = 0
        for group in self._groups(request):
            made = None
            for scope in self._scopes(group):
                wanted = []
                for item in self._items(scope):
                    if chosen := _chosen(item, first - at, last - at):
                        wanted.append(chosen)
                    at += _weight(item)
                if not wanted:
                    continue
                if made is None:
                    made = self._groups(part).add(resource=group.resource, schema_url=group.schema_url)
                into = self._scopes(made).add(scope=scope.scope, schema_url=scope.schema_url)
                self._items(into).extend(wanted)
        return part

    def _count(self, request: Any) -> int:
        return sum(
            _weight(item)
            for group in self._groups(request)
            for scope in self._scopes(group)
            for item in self._items(scope)
        )

    def _groups(self, request: Any) -> Any:
        return getattr(request, self.signal.groups)

    def _scopes(self, group: Any) -> Any:
        return getattr(group, self.signal.scopes)

    def _items(self, scope: Any) -> Any:
        return getattr(scope, self.signal.items)

    def _drop_content(self, request: Any, limit: int) -> bool:
        """Take content away from the only item until the request fits. True when it fits now."""
        group = next(iter(self._groups(request)))
        (item,) = self._items(next(iter(self._scopes(group))))
        return hasattr(item, "dropped_attributes_count") and _drop_item_content(request, item, limit)


def _points(item: Any) -> Any:
    """The data points of a metric; ``None`` for anything that is one by itself."""
    if not hasattr(item, "exponential_histogram"):
        return None
    kind = item.WhichOneof("data")
    return None if kind is None else getattr(item, kind).data_points


def _weight(item: Any) -> int:
    points = _points(item)
    return 1 if points is None else len(points)


def _chosen(item: Any, first: int, last: int) -> Any:
    """What of an item lies between two places counted from its own beginning; ``None`` for nothing of it."""
    if first >= _weight(item) or last <= 0:
        return None
    if _points(item) is None:
        return item
    part = type(item)()
    part.CopyFrom(item)
    points = _points(part)
    del points[max(0, last) :]
    del points[: max(0, first)]
    return part


def _drop_item_content(request: Any, item: Any, limit: int) -> bool:
    """All content goes at once, then what happened meanwhile, then the longest attributes as far as needed."""
    original = request.ByteSize()
    long = sorted((pair for pair in item.attributes if pair.ByteSize() > _SPARED), key=KeyValue.ByteSize, reverse=True)
    gone = {pair.key: pair.ByteSize() for pair in long if pair.key.startswith(_CONTENT)}
    left = original - sum(gone.values())
    events = getattr(item, "events", ())
    if events and left > limit:
        left -= sum(event.ByteSize() for event in events)
        item.dropped_events_count += len(events)
        del item.events[:]
    for pair in long:
        if left + 128 <= limit:  # room for the marks
            break
        if pair.key not in gone:
            gone[pair.key] = pair.ByteSize()
            left -= pair.ByteSize()
    if left == original:
        return False
    _mark(item, set(gone), original)
    return bool(request.ByteSize() <= limit)


def _mark(item: Any, gone: set[str], original: int) -> None:
    marks = {names.CONTENT_TRUNCATED, names.CONTENT_SIZE}
    kept = [KeyValue(key=pair.key, value=pair.value) for pair in item.attributes if pair.key not in gone | marks]
    item.dropped_attributes_count += len(gone)
    del item.attributes[:]
    item.attributes.extend(kept)
    item.attributes.add(key=names.CONTENT_TRUNCATED).value.bool_value = True
    item.attributes.add(key=names.CONTENT_SIZE).value.int_value = original
