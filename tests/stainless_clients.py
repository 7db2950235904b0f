"""The client libraries that Stainless generates."""

from __future__ import annotations

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

from llmtrace.providers import stainless
from llmtrace.providers.registry import PROVIDERS

MODULES: dict[str, ModuleType] = {
    provider.name: import_module(provider.package)
    for provider in PROVIDERS
    if provider.module.endswith("._base_client")
}
"""All libraries, by the name of the provider."""
COMPATIBLE = {provider.name: MODULES[provider.name] for provider in PROVIDERS if provider.hook is stainless}
"""Libraries of vendors with the wire formats of OpenAI, which need no hook of their own."""


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
