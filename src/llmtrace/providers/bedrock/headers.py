"""Token counts and service tier in the response headers of Amazon Bedrock's ``InvokeModel``."""

from __future__ import annotations

from collections.abc import Mapping

from ...model import Counts, Response
from ...model.wire_format import HeaderReader

_COUNTS = {
    "x-amzn-bedrock-input-token-count": "input",
    "x-amzn-bedrock-output-token-count": "output",
    "x-amzn-bedrock-cache-read-input-token-count": "cache_read",
    "x-amzn-bedrock-cache-write-input-token-count": "cache_write",
}
_PRICE_CONTEXT = {"x-amzn-bedrock-performanceconfig-latency": "latency"}
_TIER = "x-amzn-bedrock-service-tier"


def complete(response: Response, headers: Mapping[str, str]) -> None:
    """Add what the headers report to ``response``. Counts in the body win: some models report none there."""
    response.service_tier = headers.get(_TIER) or response.service_tier
    response.price_context.update({key: headers[name] for name, key in _PRICE_CONTEXT.items() if name in headers})
    if response.usage or response.failed:
        return
    counts: Counts = {
        field: int(value)
        for name, field in _COUNTS.items()
        if (value := headers.get(name, "")).isdecimal() and value.isascii() and len(value) < 15
    }
    if "input" in counts and (cached := counts.get("cache_read", 0) + counts.get("cache_write", 0)):
        # The header counts cached tokens apart, as recorded for Anthropic's models; others may not.
        counts["input"] += cached
        response.price_context["cache_counts"] = "unclear"
    response.usage = counts or response.usage


HEADERS = HeaderReader((*_COUNTS, *_PRICE_CONTEXT, _TIER), complete)
