"""Langfuse: its own figures outrank all it would otherwise add up from the convention's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from .. import names
from ..truncate import dumps

__all__ = ["langfuse"]

_USAGE = {
    "input": names.USAGE["input"],
    "output": names.USAGE["output"],
    "cache_read": names.USAGE["cache_read"],
    "cache_write": names.USAGE["cache_write"],
    "reasoning": names.USAGE["reasoning"],
}
_COSTS = {
    "llm.cost.prompt_details.input": "input",
    "llm.cost.prompt_details.cache_read": "input_cached_tokens",
    "llm.cost.prompt_details.cache_write": "input_cache_creation",
    "llm.cost.completion_details.output": "output",
    "llm.cost.completion_details.reasoning": "output_reasoning_tokens",
}


_ABOUT = (
    (names.LANGFUSE_ENVIRONMENT, names.TAG + "environment", "LANGFUSE_TRACING_ENVIRONMENT"),
    (names.LANGFUSE_RELEASE, names.TAG + "release", "LANGFUSE_RELEASE"),
)
"""A tag of that name, else the variable of Langfuse's own SDK."""


def langfuse(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """What Langfuse needs beyond ``attributes``."""
    found: dict[str, Any] = {}
    usage = _usage(attributes)
    if usage:
        found[names.LANGFUSE_USAGE] = dumps(usage)
    cost = attributes.get("llm.cost.total")
    if cost is not None:
        parts = {key: attributes[name] for name, key in _COSTS.items() if name in attributes}
        found[names.LANGFUSE_COST] = dumps({**parts, "total": cost})
    first = attributes.get(names.STREAM_FIRST_TOKEN)
    if isinstance(first, float) and started:
        at = datetime.fromtimestamp(started / 1e9 + first, UTC)
        found[names.LANGFUSE_FIRST_TOKEN] = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    feature = attributes.get("llmtrace.feature")
    if feature is not None:
        found[names.LANGFUSE_NAME] = found[names.LANGFUSE_METADATA + "feature"] = feature
    tags = attributes.get(names.TAGS)
    if tags:
        found[names.LANGFUSE_TAGS] = tags
    tenant = attributes.get("llmtrace.tenant")
    if tenant is not None:
        found[names.LANGFUSE_METADATA + "tenant"] = tenant
    for name, tag, variable in _ABOUT:
        told = attributes.get(tag) or os.environ.get(variable, "").strip()
        if told:
            found[name] = str(told)
    for key, value in attributes.items():
        if key.startswith("llmtrace.tag."):
            found[names.LANGFUSE_METADATA + key.removeprefix("llmtrace.tag.")] = value
    return found


def _usage(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Disjoint counts, since Langfuse adds them up."""
    told = {key: count for key, name in _USAGE.items() if isinstance(count := attributes.get(name), int)}
    if "input" not in told and "output" not in told:
        return {}
    found: dict[str, int] = {}
    if "input" in told:
        found["input"] = max(0, told["input"] - told.get("cache_read", 0) - told.get("cache_write", 0))
    if "output" in told:
        found["output"] = max(0, told["output"] - told.get("reasoning", 0))
    for key, name in (
        ("cache_read", "input_cached_tokens"),
        ("cache_write", "input_cache_creation"),
        ("reasoning", "output_reasoning_tokens"),
    ):
        if key in told:
            found[name] = told[key]
    found["total"] = told.get("input", 0) + told.get("output", 0)
    return found
