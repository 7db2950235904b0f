"""The client libraries that Stainless generates."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from llmtrace.providers import stainless
from llmtrace.providers.registry import PROVIDERS


class Libraries(Mapping[str, ModuleType]):
    """Libraries by the name of the provider. Each is imported when it is used: all six take seconds."""

    def __init__(self, **modules: str) -> None:
        self._modules = modules

    def __getitem__(self, provider: str) -> ModuleType:
        return import_module(self._modules[provider])

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


_ROWS = [provider for provider in PROVIDERS if provider.module.endswith("._base_client")]
MODULES = Libraries(**{provider.name: provider.package for provider in _ROWS})
COMPATIBLE = Libraries(**{provider.name: provider.package for provider in _ROWS if provider.hook is stainless})
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
