"""The client libraries that Stainless generates."""

from __future__ import annotations

import inspect
from types import ModuleType
from typing import Any

import anthropic
import cerebras.cloud.sdk
import fireworks
import groq
import openai
import together

COMPATIBLE: dict[str, ModuleType] = {
    "groq": groq,
    "together": together,
    "cerebras": cerebras.cloud.sdk,
    "fireworks": fireworks,
}
"""Libraries of vendors with the wire formats of OpenAI, by the name of the provider."""
MODULES: dict[str, ModuleType] = {"openai": openai, "anthropic": anthropic, **COMPATIBLE}
"""All libraries, by the name of the provider."""


def client_options(sdk: str) -> dict[str, Any]:
    """Return options with which a client sends a request for each call only: no retries, and none when it is made."""
    options: dict[str, Any] = {"api_key": "k", "max_retries": 0}
    if "warm_tcp_connection" in inspect.signature(MODULES[sdk].Client).parameters:
        options["warm_tcp_connection"] = False
    return options


def make_client(sdk: str, colour: str, url: str, **options: Any) -> Any:
    """Return a client that calls ``url``, synchronous or asynchronous."""
    cls = getattr(MODULES[sdk], "Client" if colour == "sync" else "AsyncClient")
    return cls(base_url=url, **client_options(sdk) | options)
