"""Many attributes onto a span: at once, or when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import attributes as otel
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from .._errors import log_internal_error
from .._text import encodable

__all__ = ["LIMIT", "limits_of", "make_encodable", "set_attributes", "set_lazily", "spare_room"]

LIMIT = 128
"""How many attributes a span of the SDK keeps, if nobody says otherwise: it drops the oldest above that."""

_TO_COME = 16
"""Attributes that the owner of an adopted span may still write when its call has ended."""
_LARGEST = 2**63
_LONGEST_NUMBER = 64
_SCALARS = frozenset({str, int, float, bool})
_SPAN = getattr(sdk, "_Span", None)

Make = Callable[[dict[str, Any], int], dict[str, Any]]
"""From the attributes that a span has, and how many it keeps, to those that it is to have beside them."""


def limits_of(span: Span) -> tuple[Iterable[str], int]:
    """The names of the attributes that ``span`` has, and how many it keeps."""
    limit = getattr(getattr(span, "_limits", None), "max_span_attributes", None)
    return getattr(span, "attributes", None) or (), limit or LIMIT


def spare_room(span: Span) -> int:
    """Return how many attributes may be added to a span whose owner has not finished with it."""
    known, limit = limits_of(span)
    return max(0, limit - len(list(known)) - min(_TO_COME, limit // 4))


def set_attributes(span: Span, attributes: dict[str, AttributeValue]) -> None:
    """As ``span.set_attributes(attributes)``, at a fifth of the price; lists in ``attributes`` become tuples.

    The SDK looks at types, lengths and number. That can be left out for values of plain types, without a limit of
    length, and fewer than the limit of number. In any other case, and for spans of another make, the SDK does its work.
    """
    kept: Any = getattr(span, "_attributes", None)
    ours = type(span) is _SPAN and type(kept) is _KEPT and span.is_recording()
    plain = make_encodable(attributes)
    if not (ours and plain and _put(kept, attributes)):
        span.set_attributes(attributes)


def set_lazily(span: Span, make: Make) -> bool:
    """Have ``make`` say the attributes of ``span`` when they are first looked at: by an exporter, in its thread.

    Two threads that look at once both call it, so it must say the same each time. False, and nothing done, where the
    span is of another make, has ended, or has a limit of length or an unusual limit of number.
    """
    kept: Any = getattr(span, "_attributes", None)
    if type(span) is not _SPAN or type(kept) is not _KEPT:
        return False
    try:
        # The first releases leave the attributes of an ended span open.
        if kept._immutable or not span.is_recording() or "_dict" not in kept.__dict__:
            return False
        if kept.max_value_len is not None or (kept.maxlen is not None and kept.maxlen < LIMIT):
            return False
        kept._make = make
        kept.__class__ = _LATE
    except (AttributeError, TypeError):  # the SDK keeps them in another way now
        return False
    return True


def make_encodable(attributes: dict[str, Any]) -> bool:
    """Change ``attributes`` into what can be encoded, with tuples for lists, as the SDK keeps them.

    Returns:
        False if the SDK would have to change more.
    """
    plain, odd = True, False
    for key, value in attributes.items():
        kind = type(value)
        if kind is str:
            if not value.isascii() or "\0" in value:
                attributes[key] = encodable(value)
        elif kind is int:
            if not -_LARGEST <= value < _LARGEST:
                attributes[key] = _digits(value)
        elif kind is list or kind is tuple:
            attributes[key] = tuple(map(_item, value))
            plain = plain and _SCALARS.issuperset(map(type, value))
        elif isinstance(value, str):
            attributes[key] = encodable(str.__str__(value))
        elif kind is not float and kind is not bool:
            plain = False
        odd = odd or not key.isascii()
    if odd:
        for key in list(attributes):
            attributes[encodable(key)] = attributes.pop(key)
    return plain


def _item(value: Any) -> Any:
    if isinstance(value, str):
        return encodable(value)
    return _digits(value) if type(value) is int and not -_LARGEST <= value < _LARGEST else value


def _digits(value: int) -> str:
    """Return an integer that does not fit 64 bits as text."""
    try:
        return str(value)
    except ValueError:  # Python refuses to write thousands of digits
        return f"{value:#x}"[:_LONGEST_NUMBER]


def _put(kept: Any, attributes: dict[str, Any]) -> bool:
    try:
        known, most = kept._dict, kept.maxlen
        if kept._immutable or kept.max_value_len is not None:
            return False
        with kept._lock:
            if most is not None and len(known) + len(attributes) > most and not _make_room(kept, attributes):
                return False
            known.update(attributes)
    except AttributeError:  # the SDK keeps them in another way now
        return False
    return True


def _make_room(kept: Any, attributes: dict[str, Any]) -> bool:
    """Drop the oldest, as the SDK does, which complains of each; false where that is not enough."""
    others = [key for key in kept._dict if key not in attributes]
    over = len(others) + len(attributes) - kept.maxlen
    if over > len(others):
        return False
    for key in others[: max(0, over)]:
        del kept._dict[key]
        kept.dropped += 1
    return True


def _materialize(kept: Any) -> dict[str, Any]:
    own: dict[str, Any] = kept.__dict__
    make: Make | None = own.get("_make")
    if make is not None:
        attributes = own["_dict"]
        try:
            attributes = _merge(kept, attributes, make(attributes, kept.maxlen or LIMIT))
        except Exception:  # whoever looks has a batch of other spans in hand
            log_internal_error("write a span")
        if "_make" in own:  # else another thread was quicker, and may have masked what it made
            _keep(kept, attributes)
    found: dict[str, Any] = own["_dict"]
    return found


def _keep(kept: Any, attributes: dict[str, Any]) -> None:
    """Have ``attributes``, and no more to be made."""
    own: dict[str, Any] = kept.__dict__
    own["_dict"] = attributes
    own.pop("_make", None)
    kept.__class__ = _KEPT


def _merge(kept: Any, known: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    if make_encodable(made) and (kept.maxlen is None or len(known) + len(made) <= kept.maxlen):
        return {**known, **made} if known else made
    whole = _KEPT(kept.maxlen, known, immutable=False)
    whole.update(made)
    kept.dropped += whole.dropped
    joined: dict[str, Any] = whole._dict
    return joined


_KEPT: Any = getattr(otel, "BoundedAttributes", None)
_LATE: Any = None if _KEPT is None else type("LateAttributes", (_KEPT,), {"_dict": property(_materialize, _keep)})
"""What the SDK keeps the attributes of a span in, and the same, the most of which are yet to be made."""
