"""Provider that a client calls, identified by its class, else by its host."""

from __future__ import annotations

from typing import Any

__all__ = ["provider_of", "server_of"]

_CLASSES = {
    "AzureOpenAI": "azure.ai.openai",
    "AsyncAzureOpenAI": "azure.ai.openai",
    "BedrockOpenAI": "aws.bedrock",
    "AsyncBedrockOpenAI": "aws.bedrock",
    "AnthropicBedrock": "aws.bedrock",
    "AsyncAnthropicBedrock": "aws.bedrock",
    "AnthropicBedrockMantle": "aws.bedrock",
    "AsyncAnthropicBedrockMantle": "aws.bedrock",
    "AnthropicVertex": "gcp.vertex_ai",
    "AsyncAnthropicVertex": "gcp.vertex_ai",
    # Anthropic's own service, billed through a cloud. The conventions have no separate name for it.
    "AnthropicAWS": "anthropic",
    "AsyncAnthropicAWS": "anthropic",
    "AnthropicFoundry": "anthropic",
    "AsyncAnthropicFoundry": "anthropic",
    "AnthropicGoogleCloud": "anthropic",
    "AsyncAnthropicGoogleCloud": "anthropic",
}
_RUNTIMES = {"bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
"""Providers by the runtime a client was created with: ``OpenAI(provider=bedrock(...))``."""

_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.mistral.ai": "mistral_ai",
    "api.eu.mistral.ai": "mistral_ai",
    "api.us.mistral.ai": "mistral_ai",
    "codestral.mistral.ai": "mistral_ai",
    "api.perplexity.ai": "perplexity",
    "api.moonshot.ai": "moonshot_ai",
    "api.moonshot.cn": "moonshot_ai",
    "generativelanguage.googleapis.com": "gcp.gemini",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together_ai",
    "api.together.ai": "together_ai",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "api.fireworks.ai": "fireworks_ai",
    "api.cerebras.ai": "cerebras",
    "api.voyageai.com": "voyage_ai",
    "api.z.ai": "z_ai",
    "router.huggingface.co": "hugging_face",
}
_SUFFIXES = {
    ".openai.azure.com": "azure.ai.openai",
    ".services.ai.azure.com": "azure.ai.openai",
    ".cognitiveservices.azure.com": "azure.ai.openai",
    ".models.ai.azure.com": "azure.ai.inference",
    "models.inference.ai.azure.com": "azure.ai.inference",
    "aiplatform.googleapis.com": "gcp.vertex_ai",
    ".openai.com": "openai",
    ".api.x.ai": "x_ai",
    ".snowflakecomputing.com": "snowflake",
}


_BEDROCK = ("bedrock-runtime", "bedrock-mantle")


def provider_of(client: Any, host: str | None, default: str) -> str:
    """Return the provider that ``client`` calls.

    Args:
        client: The vendor's client, or ``None`` to decide by the host alone.
        host: The host name in the client's base URL.
        default: The provider if neither the class nor the host identifies one.

    Returns:
        A value of ``gen_ai.provider.name``.
    """
    for cls in type(client).__mro__:
        provider = _CLASSES.get(cls.__name__)
        if provider is not None:
            return provider
    runtime = _RUNTIMES.get(getattr(getattr(client, "_provider_runtime", None), "name", None) or "")
    if runtime is not None:
        return runtime
    provider = None if host is None else _by_host(host)
    if provider is None or (default == "anthropic" and provider.startswith("azure.ai.")):
        # Azure's hosts serve several vendors: a client of Anthropic's dialect calls Anthropic's own service there.
        return default
    return provider


def server_of(url: Any) -> tuple[str, int] | None:
    """Return the host and the port of a URL of ``urllib`` or of an HTTP client; ``None`` without a host."""
    host = getattr(url, "hostname", None) or getattr(url, "host", None)
    return (host, getattr(url, "port", None) or (80 if getattr(url, "scheme", "") == "http" else 443)) if host else None


def _by_host(host: str) -> str | None:
    if host in _HOSTS:
        return _HOSTS[host]
    if host.startswith(_BEDROCK):
        return "aws.bedrock"
    for suffix, provider in _SUFFIXES.items():
        if host.endswith(suffix):
            return provider
    return None
