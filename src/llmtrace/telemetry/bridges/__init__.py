"""What some backends read under names of their own, made from the attributes that every backend gets.

A bridge is a pure function: from the attributes of one span to those that are to be added. The whole stays within the
limit of attributes that an SDK keeps: above that, the SDK would drop the oldest, which are the ones that matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..._errors import log_internal_error
from .. import names
from ..fast_attributes import LIMIT
from ..importance import within
from .langfuse import langfuse
from .logfire import logfire
from .openinference import openinference

__all__ = ["BRIDGES", "LIMIT", "Bridge", "add_bridges", "bridge_attributes", "within"]

Bridge = Callable[[Mapping[str, Any], int], dict[str, Any]]
"""Takes the attributes and the start of the span in nanoseconds."""

BRIDGES: dict[str, Bridge] = {"openinference": openinference, "langfuse": langfuse, "logfire": logfire}


def bridge_attributes(attributes: Mapping[str, Any], bridges: Iterable[str], *, started: int = 0) -> dict[str, Any]:
    """What the named bridges add to ``attributes``."""
    found: dict[str, Any] = {}
    for name in bridges:
        for key, value in BRIDGES[name](attributes, started).items():
            # Metadata is one list, which the bridge has read and completed.
            if key not in attributes or key == names.METADATA:
                found[key] = value
    return found


_FEW = 16
"""More attributes than others put onto a span of ours: with room for so many, there is no need to look."""
_LEAST = 8
"""Attributes that a span of ours has in any case, whatever others have put there."""


def add_bridges(
    found: dict[str, Any],
    bridges: Callable[[], Iterable[str]] | None,
    known: Iterable[str],
    limit: int,
    *,
    started: int = 0,
) -> dict[str, Any]:
    """``found``, which is all that a span of ours is to tell beside what is ``known`` of it, completed.

    It is bridged here where no exporter of ours will do it, and kept within the limit of the span.
    """
    chosen = bridges() if bridges is not None else ()
    if chosen:
        try:
            found.update(bridge_attributes(found, chosen, started=started))
        except Exception:
            log_internal_error("bridge a span")
    if len(found) <= limit - _FEW:
        return found
    others = sum(key not in found for key in known)
    return within(found, max(limit - others, min(limit, _LEAST)))
