"""Bridges: extra attributes for backends that read names of their own.

A bridge is a pure function from the attributes of one span to the attributes to add. The result stays within the
attribute limit of the SDK, which would drop the oldest attributes, the most important ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..._compat.span_attributes import LIMIT
from ..._errors import log_internal_error
from .. import names
from ..importance import within
from .langfuse import langfuse
from .openinference import openinference

__all__ = ["BRIDGES", "LIMIT", "Bridge", "add_bridges", "bridge_attributes", "within"]

Bridge = Callable[[Mapping[str, Any], int], dict[str, Any]]
"""Function from the attributes and the start of a span, in nanoseconds, to the attributes to add."""


def logfire(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """Return the cost of a call under Logfire's name."""
    return {names.LOGFIRE_COST: attributes[names.COST_TOTAL]} if names.COST_TOTAL in attributes else {}


BRIDGES: dict[str, Bridge] = {"openinference": openinference, "langfuse": langfuse, "logfire": logfire}


def bridge_attributes(attributes: Mapping[str, Any], bridges: Iterable[str], started: int = 0) -> dict[str, Any]:
    """Return what bridges add to a span, which ``started`` at nanoseconds since the epoch; 0 is unknown."""
    added: dict[str, Any] = {}
    for name in bridges:
        for key, value in BRIDGES[name](attributes, started).items():
            # Replace metadata: the bridge returns the existing object with its own keys added.
            if key not in attributes or key == names.METADATA:
                added[key] = value
    return added


_SPARE_ATTRIBUTES = 16
"""Attributes that samplers and processors may add to a span; with that much room nothing is counted."""
_MIN_ATTRIBUTES = 8
"""Attributes of llmtrace that a span keeps even if others have used up its limit."""


def add_bridges(
    attributes: dict[str, Any],
    bridges: Callable[[], Iterable[str]] | None,
    existing: Iterable[str],
    limit: int,
    *,
    started: int = 0,
) -> dict[str, Any]:
    """Return the attributes to write on a span of llmtrace, bridged in place and within its limit.

    ``bridges`` returns the names of those that no exporter of llmtrace will apply.
    """
    chosen = bridges() if bridges is not None else ()
    if chosen:
        try:
            attributes.update(bridge_attributes(attributes, chosen, started))
        except Exception:
            log_internal_error("bridge a span")
    if len(attributes) <= limit - _SPARE_ATTRIBUTES:
        return attributes
    others = sum(key not in attributes for key in existing)
    return within(attributes, max(limit - others, min(limit, _MIN_ATTRIBUTES)))
