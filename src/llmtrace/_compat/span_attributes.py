"""Attributes, limits and processors of the SDK's spans, from private names where there is no public one.

Many attributes are set in a fifth of the time that the SDK takes: at once, or lazily when an exporter reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import attributes as otel
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import Span, Tracer
from opentelemetry.util.types import AttributeValue

from .._errors import log_internal_error
from .._text import encodable
from . import warn_missing

LIMIT = 128
"""Default number of attributes on a span of the SDK; above it the SDK drops the oldest."""

_OWNER_ATTRIBUTES = 16
"""Attributes that the owner of a joined span may still write after the call has ended."""
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_MAX_NUMBER_CHARS = 64
_SCALARS = frozenset({str, int, float, bool})
_SPAN = getattr(sdk, "_Span", None)
_SLOWER = "each call takes a little longer"
if _SPAN is None:
    warn_missing("OpenTelemetry", "sdk.trace._Span", _SLOWER)

Make = Callable[[dict[str, Any], int], dict[str, Any]]
"""Function from the attributes of a span and its limit to the attributes to add."""


def limits_of(span: Span) -> tuple[Iterable[str], int]:
    """Return the names of the attributes on ``span`` and the maximum number that it keeps."""
    limit = getattr(_limits(span), "max_span_attributes", None)
    return getattr(span, "attributes", None) or (), limit or LIMIT


def value_limit(span: Any) -> int | None:
    """Return the maximum characters of a text on ``span``, ``None`` if there is no limit or it is not known."""
    limit = getattr(_limits(span), "max_span_attribute_length", None)
    return limit if type(limit) is int else None


def _limits(span: Any) -> Any:
    limits = getattr(span, "_limits", None)
    if limits is None and type(span) is _SPAN:
        warn_missing("OpenTelemetry", "sdk.trace.Span._limits", "llmtrace does not adapt to the limits of spans")
    return limits


def event_limit(logger: Any) -> int:
    """Return the maximum number of attributes on an event of ``logger``."""
    limits = getattr(logger, "_log_record_limits", None)
    return getattr(limits, "max_log_record_attributes", None) or LIMIT


def export_limit(span: Any) -> int:
    """Return the maximum number of attributes on an ended span, with those that an exporter adds."""
    return min(getattr(getattr(span, "_attributes", None), "maxlen", None) or LIMIT, LIMIT)


def span_processors(tracer: Tracer) -> tuple[Any, ...] | None:
    """Return the span processors of ``tracer``, ``None`` if they are not known. The tuple is replaced with each change.

    Without them every span starts with the attributes that a sampler might read.
    """
    try:
        processors: tuple[Any, ...] = tracer.span_processor._span_processors  # type: ignore[attr-defined]
    except AttributeError:
        if type(getattr(tracer, "span_processor", None)) is sdk.SynchronousMultiSpanProcessor:
            warn_missing("OpenTelemetry", "sdk.trace.SynchronousMultiSpanProcessor._span_processors", _SLOWER)
        return None
    return processors


def spare_room(span: Span) -> int:
    """Return the number of attributes that may be added to a span whose owner may still write to it."""
    existing, limit = limits_of(span)
    return max(0, limit - len(list(existing)) - min(_OWNER_ATTRIBUTES, limit // 4))


def set_attributes(span: Span, attributes: dict[str, AttributeValue]) -> None:
    """Set ``attributes`` like ``span.set_attributes``, in a fifth of the time; lists in ``attributes`` become tuples.

    The SDK checks type, length and number of attributes. The checks are skipped for values of plain types without a
    length limit and below the limit of number. Other attributes, and spans of other classes, are left to the SDK.
    """
    bounded: Any = getattr(span, "_attributes", None)
    is_sdk_span = type(span) is _SPAN and type(bounded) is _BOUNDED_ATTRIBUTES and span.is_recording()
    plain = make_encodable(attributes)
    if not (is_sdk_span and plain and _update(bounded, attributes)):
        if type(span) is _SPAN and bounded is None:
            warn_missing("OpenTelemetry", "sdk.trace.Span._attributes", _SLOWER)
        span.set_attributes(attributes)


def set_lazily(span: Span, make: Make) -> bool:
    """Call ``make`` for the attributes of ``span`` when they are first read, which an exporter does in its thread.

    Two threads that read at once both call it, so its result must not vary. Return False, with nothing changed, if the
    span has ended, is of another class, or has a limit of attribute length or a number limit below the default.
    """
    if type(span) is not _SPAN:
        return False
    try:
        bounded: Any = span._attributes  # type: ignore[attr-defined]
        if type(bounded) is not _BOUNDED_ATTRIBUTES:
            return False
        # Check is_recording too: the first releases leave the attributes of an ended span writable.
        if bounded._immutable or not span.is_recording() or "_dict" not in bounded.__dict__:
            return False
        if bounded.max_value_len is not None or (bounded.maxlen is not None and bounded.maxlen < LIMIT):
            return False
        bounded._make = make
        bounded.__class__ = _LAZY_ATTRIBUTES
    except (AttributeError, TypeError):  # a release of the SDK with other internals
        return False
    return True


def make_encodable(attributes: dict[str, Any]) -> bool:
    """Replace, in place, text and numbers that cannot be encoded, and lists by tuples, as the SDK does.

    Returns:
        False if the SDK would have to convert other values.
    """
    plain, texts = True, []
    for key, value in attributes.items():
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is float or kind is bool:
            continue
        elif kind is int:
            if not _INT64_MIN <= value <= _INT64_MAX:
                attributes[key] = _digits(value)
        elif kind is list or kind is tuple:
            attributes[key] = tuple(map(_encodable_item, value))
            plain = plain and _SCALARS.issuperset(map(type, value))
        elif isinstance(value, str):
            attributes[key] = encodable(str.__str__(value))
        else:
            plain = False
    # Check all texts at once: one by one takes as long as the rest of this function.
    joined = "".join(texts)
    if not joined.isascii() or "\0" in joined:
        attributes.update({key: encodable(value) for key, value in attributes.items() if type(value) is str})
    if not "".join(attributes).isascii():
        for key in list(attributes):
            attributes[encodable(key)] = attributes.pop(key)
    return plain


def _encodable_item(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    return _digits(value) if type(value) is int and not _INT64_MIN <= value <= _INT64_MAX else value


def _digits(value: int) -> str:
    """Return an integer that does not fit 64 bits as text."""
    try:
        return str(value)
    except ValueError:  # Python rejects conversions of thousands of digits
        return f"{value:#x}"[:_MAX_NUMBER_CHARS]


def _update(bounded: Any, attributes: dict[str, Any]) -> bool:
    try:
        current, limit = bounded._dict, bounded.maxlen
        if bounded._immutable or bounded.max_value_len is not None:
            return False
        with bounded._lock:
            if limit is not None and len(current) + len(attributes) > limit and not _make_room(bounded, attributes):
                return False
            current.update(attributes)
    except AttributeError as error:  # a release of the SDK with other internals
        warn_missing("OpenTelemetry", f"attributes.BoundedAttributes.{error.name}", _SLOWER)
        return False
    return True


def _make_room(bounded: Any, attributes: dict[str, Any]) -> bool:
    """Drop the oldest attributes, without the SDK's warning for each. Return False if there is still no room."""
    others = [key for key in bounded._dict if key not in attributes]
    excess = len(others) + len(attributes) - bounded.maxlen
    if excess > len(others):
        return False
    for key in others[: max(0, excess)]:
        del bounded._dict[key]
        bounded.dropped += 1
    return True


def _materialize(bounded: Any) -> dict[str, Any]:
    own: dict[str, Any] = bounded.__dict__
    make: Make | None = own.get("_make")
    if make is not None:
        attributes = own["_dict"]
        try:
            attributes = _merge(bounded, attributes, make(attributes, bounded.maxlen or LIMIT))
        except Exception:  # the reader has a batch of other spans to export
            log_internal_error("write a span")
        if "_make" in own:  # else another thread set them first, and its exporter may have masked values
            _set_final(bounded, attributes)
    current: dict[str, Any] = own["_dict"]
    return current


def _set_final(bounded: Any, attributes: dict[str, Any]) -> None:
    """Set ``attributes`` as final, and drop the pending function."""
    own: dict[str, Any] = bounded.__dict__
    own["_dict"] = attributes
    own.pop("_make", None)
    bounded.__class__ = _BOUNDED_ATTRIBUTES


def _merge(bounded: Any, existing: dict[str, Any], added: dict[str, Any]) -> dict[str, Any]:
    if make_encodable(added) and (bounded.maxlen is None or len(existing) + len(added) <= bounded.maxlen):
        return {**existing, **added} if existing else added
    merged = _BOUNDED_ATTRIBUTES(bounded.maxlen, existing, immutable=False)
    merged.update(added)
    bounded.dropped += merged.dropped
    attributes: dict[str, Any] = merged._dict
    return attributes


_BOUNDED_ATTRIBUTES: Any = getattr(otel, "BoundedAttributes", None)
if _BOUNDED_ATTRIBUTES is None:
    warn_missing("OpenTelemetry", "attributes.BoundedAttributes", _SLOWER)
_LAZY_ATTRIBUTES: Any = (
    None
    if _BOUNDED_ATTRIBUTES is None
    else type("LazyAttributes", (_BOUNDED_ATTRIBUTES,), {"_dict": property(_materialize, _set_final)})
)
"""Class of the SDK that stores the attributes of a span, and its subclass that computes them when read."""
