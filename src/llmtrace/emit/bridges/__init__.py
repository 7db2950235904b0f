"""What some backends read under names of their own, made from the attributes that every backend gets.

A bridge is a pure function: from the attributes of one span to those that are to be added. Whatever is
added stays within the limit of attributes that an SDK keeps: above that, the SDK would drop the oldest, which are the
ones that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..names import METADATA
from .langfuse import langfuse
from .logfire import logfire
from .openinference import openinference

__all__ = ["BRIDGES", "LIMIT", "Bridge", "added", "crossed", "limit_of"]

LIMIT = 128

Bridge = Callable[[Mapping[str, Any], int], dict[str, Any]]
"""Takes the attributes and the start of the span in nanoseconds."""

BRIDGES: dict[str, Bridge] = {"openinference": openinference, "langfuse": langfuse, "logfire": logfire}


def crossed(span: Any, found: Mapping[str, Any], bridges: Iterable[str], *, started: int = 0) -> dict[str, Any]:
    """What the bridges add to a span that is still open, with ``found`` about to be written on it."""
    known = {**(getattr(span, "attributes", None) or {}), **found}
    return added(known, bridges, started=started, limit=limit_of(span))


def limit_of(span: Any) -> int:
    """How many attributes ``span`` keeps."""
    return getattr(getattr(span, "_limits", None), "max_span_attributes", None) or LIMIT


def added(
    attributes: Mapping[str, Any], bridges: Iterable[str], *, started: int = 0, limit: int = LIMIT
) -> dict[str, Any]:
    """What the named bridges add to ``attributes``: the important first, as far as there is room."""
    found: dict[str, Any] = {}
    for name in bridges:
        for key, value in BRIDGES[name](attributes, started).items():
            # Metadata is one list, which the bridge has read and completed.
            if key not in attributes or key == METADATA:
                found[key] = value
    room = limit - len(attributes)
    if len(found) > room:
        found = dict(list(found.items())[: max(0, room)])
    return found
