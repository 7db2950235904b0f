"""Client libraries that are supported: our own, and those that other packages add."""

from __future__ import annotations

from importlib import metadata

from .._errors import log_internal_error
from .anthropic.provider import ANTHROPIC
from .bedrock.provider import BEDROCK
from .claude_agent.provider import CLAUDE_AGENT
from .cohere.provider import COHERE
from .compatible.provider import CEREBRAS, FIREWORKS, GROQ, TOGETHER
from .contract import Provider
from .google.provider import GOOGLE_GENAI
from .hugging_face.provider import HUGGING_FACE
from .litellm.provider import LITELLM
from .mistral.provider import MISTRAL
from .ollama.provider import OLLAMA
from .openai.provider import OPENAI
from .voyage.provider import VOYAGE
from .xai.provider import XAI

PROVIDERS = (
    *(OPENAI, ANTHROPIC, GOOGLE_GENAI, MISTRAL, BEDROCK),
    *(GROQ, TOGETHER, CEREBRAS, FIREWORKS),
    *(COHERE, OLLAMA, HUGGING_FACE, VOYAGE, XAI, LITELLM, CLAUDE_AGENT),
)


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
