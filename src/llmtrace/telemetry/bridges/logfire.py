"""Bridge for Logfire: the cost of a call under Logfire's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import names

__all__ = ["logfire"]


def logfire(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """Return the attributes that Logfire needs in addition to ``attributes``."""
    cost = attributes.get("llm.cost.total")
    return {} if cost is None else {names.LOGFIRE_COST: cost}
