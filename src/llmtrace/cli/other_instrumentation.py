"""Packages that trace the same calls as llmtrace, and what to switch off when both are active."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import metadata

_NOTHING = "nothing to switch off: llmtrace adds cost and tags to its spans"
_OWN_SPANS = "nothing to switch off: its spans go to {} only; calls have a span there and one of llmtrace"
_SAME_CALLS = "switch off {}: {} have two spans with tokens"
_ADVICE = {
    "openinference-instrumentation-anthropic": "nothing to switch off, unless you use messages.stream(): "
    "it has two spans with tokens",
    "openinference-instrumentation-langchain": _SAME_CALLS.format(
        "LangChainInstrumentor().instrument()", "model calls"
    ),
    "openinference-instrumentation-*": _NOTHING,
    "opentelemetry-instrumentation-openai": _SAME_CALLS.format(
        "OpenAIInstrumentor().instrument()", "calls of the Responses API"
    ),
    "opentelemetry-instrumentation-anthropic": _SAME_CALLS.format("AnthropicInstrumentor().instrument()", "its calls"),
    "opentelemetry-instrumentation-langchain": "switch off LangchainInstrumentor().instrument(): "
    "it suppresses the spans of model calls, so that cost and tags are on no span",
    "opentelemetry-instrumentation-botocore": _NOTHING,
    "opentelemetry-instrumentation-genai-*": _NOTHING,
    "opentelemetry-instrumentation-google-genai": _NOTHING,
    "opentelemetry-instrumentation-openai-v2": _NOTHING,
    "openlit": "nothing to switch off, but streams of Gemini have no cost and no tags on a span; "
    "gen_ai.usage.cost is OpenLIT's own",
    "logfire": "switch off logfire.instrument_openai() and logfire.instrument_anthropic() if you use streams, "
    "which have no cost and no tags on a span",
    "langfuse": _SAME_CALLS.format("langfuse.openai (import openai itself)", "its calls"),
    "sentry-sdk": _OWN_SPANS.format("Sentry"),
    "ddtrace": _OWN_SPANS.format("Datadog"),
}
"""Advice by the name of a distribution, or by a pattern; the first that fits is used."""


def advice_for(distribution: str) -> str | None:
    """Return what to switch off when a package is active too, or ``None`` if it does not trace calls of models."""
    name = distribution.lower().replace("_", "-")
    return next((advice for pattern, advice in _ADVICE.items() if fnmatchcase(name, pattern)), None)


def installed() -> Iterator[tuple[str, str, str]]:
    """Yield name, version and advice of each installed package that traces calls of models, by name."""
    versions = {each.name: each.version for each in metadata.distributions() if each.name}
    for name in sorted(versions):
        if (advice := advice_for(name)) is not None:
            yield name, versions[name], advice
