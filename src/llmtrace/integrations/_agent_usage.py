"""Token counts on the spans of agents, which repeat the sum of those on the spans of their calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_USAGE = "gen_ai.usage."
_AGGREGATED_USAGE = "gen_ai.aggregated_usage."
"""Beginning of the names that Pydantic AI gives to such sums, so that no backend adds them to the counts of calls."""


def with_aggregated_names(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes with the names of sums in place of those of token counts."""
    return {aggregated_name(name): value for name, value in attributes.items()}


def aggregated_name(name: str) -> str:
    """Return the name of a sum for that of a token count, and other names unchanged."""
    return _AGGREGATED_USAGE + name.removeprefix(_USAGE) if name.startswith(_USAGE) else name
