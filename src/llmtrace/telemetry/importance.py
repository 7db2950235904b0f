"""Ranking of attributes, to keep the important ones if a span's limit is too low: the SDK drops the oldest."""

from __future__ import annotations

from typing import Any

from . import names

_RANKED = (
    names.OPERATION, names.CUSTOM_OPERATION, names.PROVIDER, names.REQUEST_MODEL, names.TOOL_NAME, names.AGENT_NAME,
    names.WORKFLOW_NAME, names.DATA_SOURCE, names.EVALUATION_NAME, names.EVALUATION_VALUE, names.EVALUATION_LABEL,
    names.USAGE["input"], names.USAGE["output"], names.COST_TOTAL, names.ERROR_TYPE, names.RESPONSE_MODEL,
    names.OUTCOME, names.FEATURE, names.COST_EXACT, names.COST_REASON, names.COST_APPROXIMATE, names.COST_ESTIMATE,
    names.USAGE_SOURCE, names.USER, names.TENANT, names.SESSION, names.RESPONSE_ID, names.PROMPT_NAME,
    names.PROMPT_VERSION, names.CONVERSATION, names.FINISH_REASONS, names.USAGE["cache_read"],
    names.USAGE["cache_write"], names.USAGE["reasoning"], names.STREAM_END, names.STREAM_FIRST_TOKEN,
    names.BUDGET_NAME, names.BUDGET_ACTION, names.ERROR_CODE, names.HTTP_STATUS, names.TAGS, names.DOCUMENT_IDS,
    names.ROLLUP_COST, names.ROLLUP_CALLS, names.ROLLUP_INPUT, names.ROLLUP_OUTPUT, names.OI_KIND,
    names.INPUT_MESSAGES, names.OUTPUT_MESSAGES, names.TOOL_ARGUMENTS, names.TOOL_RESULT, names.QUERY,
    names.RETRIEVED, names.SYSTEM_INSTRUCTIONS, names.SERVER_ADDRESS, names.COST_SOURCE, names.COST_MODEL,
    names.COST_CATALOG, names.REQUEST_STREAM, names.PROMPT_HASH,
)  # fmt: skip
"""Most important attributes, in descending order. Attributes in neither list follow in the order of writing."""
_LAST_PREFIXES = (
    "langfuse.",
    "llm.token_count.",
    "llm.cost.prompt_details.",
    "llm.cost.completion_details.",
    names.METADATA,
    names.TAG,
    names.PROMPT_VARIABLE,
    names.OI_EMBEDDINGS,
    names.RERANK_INPUT,
    names.RERANK_OUTPUT,
    names.DOCUMENTS,
)
"""Prefixes of attributes that repeat others, in descending order of importance."""
_RANKS = {name: rank for rank, name in enumerate(_RANKED)}
_UNRANKED = len(_RANKED)


def _rank(name: str) -> int:
    """Return the rank of an attribute; the most important has rank 0."""
    rank = _RANKS.get(name)
    if rank is not None:
        return rank
    return next(
        (_UNRANKED + 1 + index for index, prefix in enumerate(_LAST_PREFIXES) if name.startswith(prefix)), _UNRANKED
    )


def within(attributes: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the most important of ``attributes``, at most ``limit`` of them."""
    if len(attributes) <= limit:
        return attributes
    kept = set(sorted(attributes, key=_rank)[: max(0, limit)])
    return {name: value for name, value in attributes.items() if name in kept}


def by_importance(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return ``attributes`` with the most important last, since the SDK drops the first ones above its limit."""
    return {name: attributes[name] for name in sorted(attributes, key=_rank, reverse=True)}
