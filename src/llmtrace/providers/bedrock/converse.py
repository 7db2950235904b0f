"""Bedrock Converse: readers of requests, responses and stream events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, get_count, get_text, iter_list, select
from ...model import Counts, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import Texts, WireFormat
from .._usage import is_billed, merge_counts, read_server_times
from .converse_content import CONVERSE_CONTENT

__all__ = ["CONVERSE", "COUNT_TOKENS", "guardrail_of"]

_PARAMS = {
    "maxTokens": "max_tokens",
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "top_k": "top_k",
    "stopSequences": "stop_sequences",
}


def read_request(body: Any) -> Request:
    extra = get(body, "additionalModelRequestFields")
    params: dict[str, Any] = {}
    for source in (extra, get(extra, "inferenceConfig"), get(body, "inferenceConfig")):
        params.update((_PARAMS[name], value) for name, value in select(source, frozenset(_PARAMS)).items())
    output = get(body, "outputConfig")
    effort = get_text(output, "effort") or get_text(get(extra, "output_config"), "effort")
    if effort := effort or get_text(extra, "reasoning_effort"):
        params["reasoning.level"] = effort
    return Request(
        operation="chat",
        model=get_text(body, "modelId"),
        params=params,
        output_type="json" if get_text(get(output, "textFormat"), "type") == "json_schema" else None,
        service_tier=get_text(get(body, "serviceTier"), "type"),
        guardrail_id=guardrail_of(body),
    )


def guardrail_of(body: Any) -> str | None:
    """Return the id of the guardrail in a request."""
    return get_text(get(body, "guardrailConfig"), "guardrailIdentifier") or get_text(body, "guardrailIdentifier")


_NAMES = {
    "inputTokens": "input",
    "outputTokens": "output",
    "totalTokens": "total",
    "cacheReadInputTokens": "cache_read",
    "cacheReadInputTokenCount": "cache_read",
    "cacheWriteInputTokens": "cache_write",
    "cacheWriteInputTokenCount": "cache_write",
}
_LIFETIMES = {"5m": "cache_write_5m", "1h": "cache_write_1h"}


def read_usage(usage: Any, into: Response) -> None:
    """Set the reported usage on a response.

    Models differ in whether ``inputTokens`` includes cached tokens, and ``totalTokens``, the sum, shows which.
    """
    counts: Counts = {}
    merge_counts(counts, {key: count for name, key in _NAMES.items() if (count := get_count(usage, name)) is not None})
    for detail in iter_list(usage, "cacheDetails"):
        field, count = _LIFETIMES.get(get_text(detail, "ttl") or ""), get_count(detail, "inputTokens")
        if field is not None and count is not None:
            counts[field] = counts.get(field, 0) + count
    total = counts.pop("total", None)
    cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
    if "input" in counts:
        counted = counts["input"] + counts.get("output", 0)
        if cached and (total != counted or cached > counts["input"]):
            counts["input"] += cached
            counted += cached
        if total != counted and (cached or total is not None):
            # Older releases of botocore drop the counts that they do not know, such as those of caches.
            into.price_context["total"] = "unclear"
    into.usage = counts or None
    if type(usage) is dict:
        tools = get(usage, "serverToolUsage")
        into.unmapped_counts = tuple(
            name
            for source in (usage, tools if type(tools) is dict else {})
            for name in source
            if name not in _NAMES and get_count(source, name) and is_billed(name.lower())
        )


def read_response(response: Any) -> Response:
    """Read a complete response, or the last event of a stream, which has the same fields."""
    reason = get_text(response, "stopReason")
    result = Response(
        # A prompt router names the model that it chose.
        model=get_text(get(get(response, "trace"), "promptRouter"), "invokedModelId"),
        finish_reasons=(reason,) if reason else (),
        service_tier=get_text(get(response, "serviceTier"), "type"),
        server_times=read_server_times(get(response, "metrics"), {"latencyMs": "total"}, per_second=1000),
    )
    if latency := get_text(get(response, "performanceConfig"), "latency"):
        result.price_context["latency"] = latency
    read_usage(get(response, "usage"), result)
    return result


class ConverseAccumulator:
    """Accumulator of the events of a Converse stream."""

    __slots__ = ("_last", "_reason")

    skips_text: bool = True

    def __init__(self) -> None:
        self._last: Response | None = None
        self._reason: str | None = None

    def add(self, event: Any) -> bool | str:
        delta = get(get(event, "contentBlockDelta"), "delta")
        if delta is not None:
            text = get(delta, "text")
            return text if type(text) is str else bool(get(delta, "toolUse") or _reasoning(delta))
        if (end := get(event, "messageStop")) is not None:
            self._reason = get_text(end, "stopReason")
        elif (end := get(event, "metadata")) is not None:
            self._last = read_response(end)
        return bool(get(get(get(event, "contentBlockStart"), "start"), "toolUse"))

    @property
    def ended(self) -> bool:
        return self._last is not None

    def result(self) -> Response:
        reasons = (self._reason,) if self._reason else ()
        if self._last is None:
            return Response(finish_reasons=reasons, complete=False)
        return replace(self._last, finish_reasons=reasons)


def _reasoning(delta: Any) -> str | None:
    reasoning = get(delta, "reasoningContent")
    return get_text(reasoning, "text") or get_text(get(reasoning, "reasoningText"), "text")


def read_texts(response: Any) -> Texts:
    message = get(get(response, "output"), "message")
    blocks = [*iter_list(message, "content"), get(get(response, "contentBlockDelta"), "delta")]
    for block in [*blocks, get(get(response, "contentBlockStart"), "start")]:
        tool = get(block, "toolUse")
        if name := get_text(tool, "name"):
            yield name, True
        arguments = get(tool, "input")
        for text in (get_text(block, "text"), _reasoning(block), str(arguments) if arguments else None):
            if text:
                yield text, False


CONVERSE = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=ConverseAccumulator,
    content=CONVERSE_CONTENT,
    texts=read_texts,
)


def read_count_request(body: Any) -> Request:
    return Request(operation="count_tokens", model=get_text(body, "modelId"))


def read_count(response: Any) -> Response:
    return Response(counted_tokens=get_count(response, "inputTokens"))


def read_counted(body: Any) -> RequestContent:
    return CONVERSE_CONTENT.request(get(get(body, "input"), "converse"))


COUNT_TOKENS = WireFormat(request=read_count_request, response=read_count, content=ContentFormat(read_counted))
