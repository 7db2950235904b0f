"""Client libraries that are supported: our own, and those that other packages add."""

from __future__ import annotations

from importlib import metadata

from .._errors import log_internal_error
from .anthropic.provider import ANTHROPIC
from .bedrock.provider import BEDROCK
from .contract import Provider
from .google.provider import GOOGLE_GENAI
from .mistral.provider import MISTRAL
from .openai.provider import OPENAI

__all__ = ["PROVIDERS", "providers"]

PROVIDERS = (OPENAI, ANTHROPIC, GOOGLE_GENAI, MISTRAL, BEDROCK)


def providers() -> tuple[Provider, ...]:
    """Return our own providers, and those that other packages add by the entry-point group ``llmtrace.providers``."""
    added: dict[str, Provider] = {}
    for point in metadata.entry_points(group="llmtrace.providers"):
        try:
            provider = point.load()
            if isinstance(provider, Provider):
                added[provider.name] = provider
        except Exception:
            log_internal_error(f"load the provider {point.name}")
    return (*(provider for provider in PROVIDERS if provider.name not in added), *added.values())
