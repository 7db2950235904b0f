"""Which attributes a span keeps where its limit does not hold all: the SDK would drop the oldest."""

from __future__ import annotations

from typing import Any

from . import names

__all__ = ["by_importance", "within"]

_RANKED = (
    names.OPERATION,
    names.PROVIDER,
    names.REQUEST_MODEL,
    names.TOOL_NAME,
    names.AGENT_NAME,
    names.WORKFLOW_NAME,
    names.DATA_SOURCE,
    names.EVALUATION_NAME,
    names.EVALUATION_VALUE,
    names.EVALUATION_LABEL,
    names.USAGE["input"],
    names.USAGE["output"],
    names.COST_TOTAL,
    names.ERROR_TYPE,
    names.RESPONSE_MODEL,
    names.OUTCOME,
    names.FEATURE,
    names.COST_EXACT,
    names.COST_REASON,
    names.COST_APPROXIMATE,
    names.COST_ESTIMATE,
    names.USAGE_SOURCE,
    names.USER,
    names.TENANT,
    names.SESSION,
    names.RESPONSE_ID,
    names.PROMPT_NAME,
    names.PROMPT_VERSION,
    names.CONVERSATION,
    names.FINISH_REASONS,
    names.USAGE["cache_read"],
    names.USAGE["cache_write"],
    names.USAGE["reasoning"],
    names.STREAM_END,
    names.STREAM_FIRST_TOKEN,
    names.BUDGET_NAME,
    names.BUDGET_ACTION,
    names.ERROR_CODE,
    names.HTTP_STATUS,
    names.TAGS,
    names.DOCUMENT_IDS,
    names.ROLLUP_COST,
    names.ROLLUP_CALLS,
    names.ROLLUP_INPUT,
    names.ROLLUP_OUTPUT,
    names.OI_KIND,
    names.INPUT_MESSAGES,
    names.OUTPUT_MESSAGES,
    names.TOOL_ARGUMENTS,
    names.TOOL_RESULT,
    names.QUERY,
    names.RETRIEVED,
    names.SYSTEM_INSTRUCTIONS,
    names.SERVER_ADDRESS,
    names.COST_SOURCE,
    names.COST_MODEL,
    names.COST_CATALOG,
    names.REQUEST_STREAM,
    names.PROMPT_HASH,
)
"""The most important first; what is neither here nor below comes next, in the order in which it was written."""
_LAST = (
    "langfuse.",
    "llm.token_count.",
    "llm.cost.prompt_details.",
    "llm.cost.completion_details.",
    names.METADATA,
    names.TAG,
    names.PROMPT_VARIABLE,
    names.OI_EMBEDDINGS,
    names.RERANK_GIVEN,
    names.RERANK_KEPT,
    names.DOCUMENTS,
)
"""Beginnings of names that repeat what others say, the least important last."""
_RANKS = {name: rank for rank, name in enumerate(_RANKED)}
_OTHERS = len(_RANKED)


def _rank(name: str) -> int:
    rank = _RANKS.get(name)
    if rank is not None:
        return rank
    return next((_OTHERS + 1 + place for place, start in enumerate(_LAST) if name.startswith(start)), _OTHERS)


def within(attributes: dict[str, Any], limit: int) -> dict[str, Any]:
    """Return the most important of ``attributes``, at most ``limit`` of them."""
    if len(attributes) <= limit:
        return attributes
    kept = set(sorted(attributes, key=_rank)[: max(0, limit)])
    return {name: value for name, value in attributes.items() if name in kept}


def by_importance(attributes: dict[str, Any]) -> dict[str, Any]:
    """Return ``attributes`` with the most important last, for an SDK that drops the first beyond a limit of its own."""
    return {name: attributes[name] for name in sorted(attributes, key=_rank, reverse=True)}
