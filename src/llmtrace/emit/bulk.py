"""Many attributes onto a span: at once, or when somebody looks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import attributes as otel
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

from .._guard import report

__all__ = ["LIMIT", "room", "set_all", "set_late"]

LIMIT = 128
"""How many attributes a span of the SDK keeps, if nobody says otherwise: it drops the oldest above that."""

_SCALARS = frozenset({str, int, float, bool})
_SPAN = getattr(sdk, "_Span", None)

Make = Callable[[dict[str, Any], int], dict[str, Any]]
"""From the attributes that a span has, and how many it keeps, to those that it is to have beside them."""


def room(span: Span) -> tuple[Iterable[str], int]:
    """The names of the attributes that ``span`` has, and how many it keeps."""
    limit = getattr(getattr(span, "_limits", None), "max_span_attributes", None)
    return getattr(span, "attributes", None) or (), limit or LIMIT


def set_all(span: Span, attributes: dict[str, AttributeValue]) -> None:
    """As ``span.set_attributes(attributes)``, at a fifth of the price; lists in ``attributes`` become tuples.

    The SDK looks at types, lengths and number. That can be left out for values of plain types, without a limit of
    length, and fewer than the limit of number. In any other case, and for spans of another make, the SDK does its work.
    """
    kept: Any = getattr(span, "_attributes", None)
    ours = type(span) is _SPAN and type(kept) is _KEPT and span.is_recording()
    if not (ours and _made_plain(attributes) and _put(kept, attributes)):
        span.set_attributes(attributes)


def set_late(span: Span, make: Make) -> bool:
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


def _made_plain(attributes: dict[str, Any]) -> bool:
    """Make lists tuples, as the SDK keeps them; false where it would have to change more."""
    for key, value in attributes.items():
        if type(value) in _SCALARS:
            continue
        if not isinstance(value, (list, tuple)):
            return False
        for item in value:
            if type(item) not in _SCALARS:
                return False
        attributes[key] = tuple(value)
    return True


def _put(kept: Any, attributes: dict[str, Any]) -> bool:
    try:
        known, most = kept._dict, kept.maxlen
        if kept._immutable or kept.max_value_len is not None:
            return False
        with kept._lock:
            if most is not None and len(known) + len(attributes) > most:
                return False
            known.update(attributes)
    except AttributeError:  # the SDK keeps them in another way now
        return False
    return True


def _look(kept: Any) -> dict[str, Any]:
    own: dict[str, Any] = kept.__dict__
    make: Make | None = own.get("_make")
    if make is not None:
        attributes = own["_dict"]
        try:
            attributes = _joined(kept, attributes, make(attributes, kept.maxlen or LIMIT))
        except Exception:  # whoever looks has a batch of other spans in hand
            report("write a span")
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


def _joined(kept: Any, known: dict[str, Any], made: dict[str, Any]) -> dict[str, Any]:
    if _made_plain(made) and (kept.maxlen is None or len(known) + len(made) <= kept.maxlen):
        return {**known, **made} if known else made
    whole = _KEPT(kept.maxlen, known, immutable=False)
    whole.update(made)
    kept.dropped += whole.dropped
    joined: dict[str, Any] = whole._dict
    return joined


_KEPT: Any = getattr(otel, "BoundedAttributes", None)
_LATE: Any = None if _KEPT is None else type("LateAttributes", (_KEPT,), {"_dict": property(_look, _keep)})
"""What the SDK keeps the attributes of a span in, and the same, the most of which are yet to be made."""
