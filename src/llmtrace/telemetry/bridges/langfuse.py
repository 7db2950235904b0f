"""Bridge for Langfuse, which prefers its own usage and cost attributes to those of the convention."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..._read import put
from ..._settings.environment import variable
from .. import names
from ..truncate import dumps

_USAGE = {field: names.USAGE[field] for field in ("input", "output", "cache_read", "cache_write", "reasoning")}
_PARTS = {
    "input": {"cache_read": "input_cached_tokens", "cache_write": "input_cache_creation"},
    "output": {"reasoning": "output_reasoning_tokens"},
}
_COST_DETAILS = {
    "llm.cost.prompt_details.input": "input",
    "llm.cost.prompt_details.cache_read": "input_cached_tokens",
    "llm.cost.prompt_details.cache_write": "input_cache_creation",
    "llm.cost.completion_details.output": "output",
    "llm.cost.completion_details.reasoning": "output_reasoning_tokens",
}
_TYPES = {
    "retrieval": "retriever",
    "rerank": "retriever",
    "moderation": "guardrail",
    "invoke_workflow": "chain",
    "plan": "chain",
}
"""Types of the operations that Langfuse does not classify itself. Any other one without a type is a span there."""
_DEPLOYMENT = (
    (names.LANGFUSE_ENVIRONMENT, names.TAG + "environment", "LANGFUSE_TRACING_ENVIRONMENT"),
    (names.LANGFUSE_RELEASE, names.TAG + "release", "LANGFUSE_RELEASE"),
)
"""Attribute, tag and variable: the tag is used if present, else the variable of Langfuse's SDK."""


def langfuse(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """Return the attributes that Langfuse needs in addition to ``attributes``."""
    added: dict[str, Any] = {}
    operation = names.operation_of(attributes)
    if operation in _TYPES or names.CUSTOM_OPERATION in attributes:
        added[names.LANGFUSE_TYPE] = _TYPES.get(operation, "span")
    if usage := _usage(attributes):
        added[names.LANGFUSE_USAGE] = dumps(usage)
    cost = attributes.get("llm.cost.total")
    if cost is not None:
        parts = {key: attributes[name] for name, key in _COST_DETAILS.items() if name in attributes}
        added[names.LANGFUSE_COST] = dumps({**parts, "total": cost})
    first_token = attributes.get(names.STREAM_FIRST_TOKEN)
    if isinstance(first_token, float) and started:
        first_token_time = datetime.fromtimestamp(started / 1e9 + first_token, UTC)
        added[names.LANGFUSE_FIRST_TOKEN] = first_token_time.isoformat(timespec="microseconds").replace("+00:00", "Z")
    values = {
        names.LANGFUSE_NAME: attributes.get(names.FEATURE),
        names.LANGFUSE_METADATA + "feature": attributes.get(names.FEATURE),
        names.LANGFUSE_TAGS: attributes.get(names.TAGS) or None,
        names.LANGFUSE_METADATA + "tenant": attributes.get(names.TENANT),
    }
    put(added, values)
    for name, tag, setting_name in _DEPLOYMENT:
        if setting := attributes.get(tag) or variable(setting_name):
            added[name] = str(setting)
    for key, value in attributes.items():
        if key.startswith(names.TAG):
            added[names.LANGFUSE_METADATA + key.removeprefix(names.TAG)] = value
    return added


def _usage(attributes: Mapping[str, Any]) -> dict[str, int]:
    """Return disjoint token counts, since Langfuse sums them up."""
    counts = {key: count for key, name in _USAGE.items() if isinstance(count := attributes.get(name), int)}
    if "input" not in counts and "output" not in counts:
        return {}
    usage: dict[str, int] = {}
    for total, parts in _PARTS.items():
        rest = counts.get(total, 0)
        for key, name in parts.items():
            if key in counts:
                # Some providers report a part that is larger than its total.
                usage[name] = min(counts[key], rest)
                rest -= usage[name]
        if total in counts:
            usage[total] = rest
    usage["total"] = counts.get("input", 0) + counts.get("output", 0)
    return usage
