"""Which provider a client speaks to: its class first, its host second."""

from __future__ import annotations

from typing import Any

__all__ = ["provider_of"]

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
    # Anthropic's own service, reached and billed through a cloud: its SDK names it so, and the convention has no other.
    "AnthropicAWS": "anthropic",
    "AsyncAnthropicAWS": "anthropic",
    "AnthropicFoundry": "anthropic",
    "AsyncAnthropicFoundry": "anthropic",
    "AnthropicGoogleCloud": "anthropic",
    "AsyncAnthropicGoogleCloud": "anthropic",
}
_RUNTIMES = {"bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai"}
"""What a client was made for: ``OpenAI(provider=bedrock(...))``."""

_HOSTS = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x_ai",
    "api.mistral.ai": "mistral_ai",
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
    for cls in type(client).__mro__:
        named = _CLASSES.get(cls.__name__)
        if named is not None:
            return named
    runtime = _RUNTIMES.get(getattr(getattr(client, "_provider_runtime", None), "name", None) or "")
    if runtime is not None:
        return runtime
    named = None if host is None else _by_host(host)
    if named is None or (default == "anthropic" and named.startswith("azure.ai.")):
        # Azure's hosts serve more than one vendor; what speaks this dialect there is Anthropic's own service.
        return default
    return named


def _by_host(host: str) -> str | None:
    if host in _HOSTS:
        return _HOSTS[host]
    if host.startswith(_BEDROCK):
        return "aws.bedrock"
    for suffix, named in _SUFFIXES.items():
        if host.endswith(suffix):
            return named
    return None
