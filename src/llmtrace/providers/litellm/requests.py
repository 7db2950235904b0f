"""Requests of LiteLLM to vendors: their route, model, vendor and body."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import unquote

from ..contract import Provider

_VENDORS = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "azure_text": "azure.ai.openai",
    "bedrock": "aws.bedrock", "codestral": "mistral_ai", "cohere_chat": "cohere", "custom_openai": None,
    "gemini": "gcp.gemini", "huggingface": "hugging_face", "litellm_proxy": None, "minimax": "minimax_ai",
    "mistral": "mistral_ai", "moonshot": "moonshot_ai", "ollama_chat": "ollama", "openai_like": None,
    "text-completion-codestral": "mistral_ai", "text-completion-openai": "openai", "vertex_ai": "gcp.vertex_ai",
    "vertex_ai_beta": "gcp.vertex_ai", "voyage": "voyage_ai", "watsonx": "ibm.watsonx.ai", "xai": "x_ai", "zai": "z_ai",
}  # fmt: skip
"""Values of ``gen_ai.provider.name`` by LiteLLM's names, where they differ. ``None`` leaves it to the host."""
_BEDROCK = ("/converse", "/invoke")
STREAMED = frozenset({":streamGenerateContent", "/converse-stream", "/invoke-with-response-stream"})


def read_vendor(name: Any) -> str | None:
    """Return the value of ``gen_ai.provider.name`` for LiteLLM's name of a vendor."""
    return _VENDORS.get(name, name) if isinstance(name, str) else None


def parse_path(provider: Provider, path: str) -> tuple[str, str | None]:
    """Return the route of a request, and the model if the path has it."""
    parent, _, last = path.rstrip("/").rpartition("/")
    model, colon, verb = last.rpartition(":")
    if colon:
        return ("/messages" if "/publishers/anthropic/" in parent else f":{verb}"), model or None
    above = parent.rpartition("/")[2]
    longer, route = f"/{above}/{last}", f"/{last}"
    if route.startswith(_BEDROCK):
        return route, unquote(above)
    return (route if provider.route("POST", longer) is None else longer), None


def read_body(arguments: dict[str, Any], route: str, model: str | None) -> Any:
    """Return the parsed body of a request; with the model, where the wire format of Bedrock has that."""
    body: Any = next((arguments[name] for name in ("json", "data", "content") if arguments.get(name)), None)
    if isinstance(body, (str, bytes)):
        body = json.loads(body)
    if route.startswith("/invoke"):
        return {"modelId": model, "body": body}
    return {**body, "modelId": model} if route.startswith(_BEDROCK) else body
