"""Many attributes onto a span at once."""

from __future__ import annotations

from typing import Any

from opentelemetry import attributes as otel
from opentelemetry.sdk import trace as sdk
from opentelemetry.trace import Span
from opentelemetry.util.types import AttributeValue

__all__ = ["set_all"]

_SCALARS = frozenset({str, int, float, bool})
_SPAN = getattr(sdk, "_Span", None)
_KEPT = getattr(otel, "BoundedAttributes", None)


def set_all(span: Span, attributes: dict[str, AttributeValue]) -> None:
    """As ``span.set_attributes(attributes)``, whose look at each of them is a fifth of what a call costs.

    The SDK looks at types, lengths and number. That can be left out for values of plain types, without a limit of
    length, and fewer than the limit of number. In any other case, and for spans of another make, the SDK does its work.
    """
    kept: Any = getattr(span, "_attributes", None)
    if type(span) is _SPAN and type(kept) is _KEPT and span.is_recording():
        plain = _plain(attributes)
        if plain is not None and _put(kept, plain):
            return
    span.set_attributes(attributes)


def _plain(attributes: dict[str, AttributeValue]) -> dict[str, Any] | None:
    """As the SDK would keep them; ``None`` where it would have to change a value."""
    found: dict[str, Any] = {}
    for key, value in attributes.items():
        kind = type(value)
        if kind in _SCALARS:
            found[key] = value
        elif isinstance(value, (list, tuple)) and all(type(item) in _SCALARS for item in value):
            found[key] = tuple(value)
        else:
            return None
    return found


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
