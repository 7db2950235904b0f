"""Code shared by the benchmarks: the measured exchange, and its span written by hand."""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = [
    "ABOUT",
    "ANSWER",
    "ASK",
    "HEADERS",
    "TAGS",
    "cpu",
    "describe_chat",
    "describe_message",
    "describe_tags",
    "http_of",
]

ASK: Any = {
    "model": "gpt-4o-mini",
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"}],
    "temperature": 0.2,
    "max_tokens": 64,
}
ABOUT: Any = {"id": "chatcmpl-1", "created": 1, "model": "gpt-4o-mini-2024-07-18", "system_fingerprint": "fp_1"}
COUNTS = {
    "prompt_tokens": 1200,
    "completion_tokens": 64,
    "total_tokens": 1264,
    "prompt_tokens_details": {"cached_tokens": 1024},
}
SAID = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Rayleigh scattering."}}
ANSWER = {**ABOUT, "object": "chat.completion", "service_tier": "default", "choices": [SAID], "usage": COUNTS}
HEADERS = {"x-request-id": "req_1", "x-ratelimit-remaining-requests": "9", "x-ratelimit-remaining-tokens": "99"}
HEADERS |= {f"x-other-{number}": "some value" for number in range(15)}  # as many as the vendor sends


TAGS = {"feature": "answers", "user": "user-1", "session": "session-1"}


def http_of(client: Any) -> Any:
    """The HTTP library under an SDK's ``DefaultHttpxClient``: httpx2, or httpx in older releases."""
    return sys.modules[client.__mro__[1].__module__.partition(".")[0]]


try:
    CATALOG = f"genai-prices {version('genai-prices')}"
except PackageNotFoundError:  # in the environment of a peer
    CATALOG = "genai-prices"


def describe_chat(span: Any, answer: Any, headers: Any = None) -> None:
    """Write by hand the attributes that llmtrace writes for a chat completion of ``ASK``."""
    span.set_attribute("gen_ai.operation.name", "chat")
    span.set_attribute("gen_ai.provider.name", "openai")
    span.set_attribute("gen_ai.request.model", ASK["model"])
    span.set_attribute("gen_ai.request.temperature", ASK["temperature"])
    span.set_attribute("gen_ai.request.max_tokens", ASK["max_tokens"])
    span.set_attribute("server.address", "api.openai.com")
    span.set_attribute("server.port", 443)
    span.set_attribute("openai.api.type", "chat_completions")
    span.set_attribute("gen_ai.response.id", answer.id)
    span.set_attribute("gen_ai.response.model", answer.model)
    reasons = [choice.finish_reason for choice in answer.choices]
    span.set_attribute("gen_ai.response.finish_reasons", reasons)
    span.set_attribute("llmtrace.response.finish_reasons_raw", reasons)
    span.set_attribute("openai.response.service_tier", answer.service_tier)
    span.set_attribute("openai.response.system_fingerprint", answer.system_fingerprint)
    span.set_attribute("gen_ai.usage.input_tokens", answer.usage.prompt_tokens)
    span.set_attribute("gen_ai.usage.output_tokens", answer.usage.completion_tokens)
    cached = answer.usage.prompt_tokens_details.cached_tokens
    span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)
    _describe_parameters(span, {"max_tokens": ASK["max_tokens"], "temperature": ASK["temperature"]})
    span.set_attribute("llmtrace.api", "openai.chat.completions.create")
    span.set_attribute("llmtrace.model.pinned", False)
    fresh = answer.usage.prompt_tokens - cached
    _describe_cost(span, "gpt-4o-mini", fresh * 150, cached * 75, answer.usage.completion_tokens * 600)
    _describe_openinference(span, answer)
    _describe_outcome(span, answer, headers)


def describe_tags(span: Any) -> None:
    """Write by hand the attributes of ``llmtrace.tag(**TAGS)``."""
    span.set_attribute("llmtrace.feature", TAGS["feature"])
    span.set_attribute("user.id", TAGS["user"])
    span.set_attribute("session.id", TAGS["session"])
    span.set_attribute("metadata", json.dumps({"feature": TAGS["feature"]}, separators=(",", ":")))


def describe_message(span: Any, ask: Any, answer: Any) -> None:
    """Write the attributes of a message of the anthropic SDK."""
    span.set_attribute("gen_ai.operation.name", "chat")
    span.set_attribute("gen_ai.provider.name", "anthropic")
    span.set_attribute("gen_ai.request.model", ask["model"])
    span.set_attribute("gen_ai.request.max_tokens", ask["max_tokens"])
    span.set_attribute("server.address", "api.anthropic.com")
    span.set_attribute("server.port", 443)
    span.set_attribute("gen_ai.response.id", answer.id)
    span.set_attribute("gen_ai.response.model", answer.model)
    span.set_attribute("gen_ai.response.finish_reasons", ["stop"])
    span.set_attribute("llmtrace.response.finish_reasons_raw", [answer.stop_reason])
    _describe_parameters(span, {"max_tokens": ask["max_tokens"]})
    span.set_attribute("llmtrace.api", "anthropic.messages.create")
    span.set_attribute("llmtrace.model.pinned", False)
    usage = answer.usage
    cached = usage.cache_read_input_tokens or 0
    span.set_attribute("gen_ai.usage.input_tokens", usage.input_tokens + cached)
    span.set_attribute("gen_ai.usage.output_tokens", usage.output_tokens)
    span.set_attribute("gen_ai.usage.cache_read.input_tokens", cached)
    _describe_cost(span, "claude-haiku-4-5", usage.input_tokens * 1000, cached * 100, usage.output_tokens * 5000)
    _describe_openinference(span, answer)
    _describe_outcome(span, answer)


def _describe_cost(span: Any, model: str, fresh: int, cached: int, made: int) -> None:
    """The parts are in billionths of a USD."""
    total = (fresh + cached + made) / 1e9
    span.set_attribute("llm.cost.total", total)
    span.set_attribute("gen_ai.usage.cost", total)
    span.set_attribute("llmtrace.cost.exact", f"{total:.10f}".rstrip("0"))
    span.set_attribute("llmtrace.cost.source", "catalog")
    span.set_attribute("llmtrace.cost.model", model)
    span.set_attribute("llmtrace.cost.catalog_version", CATALOG)
    span.set_attribute("llm.cost.prompt", (fresh + cached) / 1e9)
    span.set_attribute("llm.cost.completion", made / 1e9)
    span.set_attribute("llm.cost.prompt_details.input", fresh / 1e9)
    span.set_attribute("llm.cost.prompt_details.cache_read", cached / 1e9)
    span.set_attribute("llm.cost.completion_details.output", made / 1e9)


def _describe_parameters(span: Any, parameters: dict[str, Any]) -> None:
    encoded = json.dumps(parameters, separators=(",", ":"))
    span.set_attribute("llmtrace.request.parameters", encoded)
    span.set_attribute("llm.invocation_parameters", encoded)


def _describe_openinference(span: Any, answer: Any) -> None:
    span.set_attribute("openinference.span.kind", "LLM")
    span.set_attribute("llm.model_name", answer.model)


def _describe_outcome(span: Any, answer: Any, headers: Any = None) -> None:
    """Without ``headers``, which by hand need the SDK's raw response, what they say is given away."""
    reported = headers or HEADERS
    span.set_attribute("llmtrace.usage.source", "provider")
    span.set_attribute("llmtrace.request_id", answer._request_id)
    span.set_attribute("llmtrace.ratelimit.remaining_requests", int(reported["x-ratelimit-remaining-requests"]))
    span.set_attribute("llmtrace.ratelimit.remaining_tokens", int(reported["x-ratelimit-remaining-tokens"]))
    span.set_attribute("llmtrace.outcome", "ok")


def cpu(work: Callable[[int], Any], count: int, warm: int = 0) -> float:
    """Nanoseconds of CPU time for each of ``count``."""
    if warm:
        work(warm)
    gc.collect()
    start = time.process_time_ns()
    work(count)
    return (time.process_time_ns() - start) / count
