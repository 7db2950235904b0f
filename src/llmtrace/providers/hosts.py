"""Provider that a client calls, identified by its class, else by its host (``hosts.toml``)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from .._tables import by_value, read_tables

_tables = read_tables(__package__, "hosts.toml")
_CLASSES = by_value(_tables["classes"])
_CLASSES |= {f"Async{name}": provider for name, provider in _CLASSES.items()}
_RUNTIMES, _HOSTS = by_value(_tables["runtimes"]), by_value(_tables["hosts"])
_SUFFIXES, _PREFIXES = by_value(_tables["suffixes"]), by_value(_tables["prefixes"])


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
    """Return the host and the port of a URL, a text or one of an HTTP client; ``None`` without a host."""
    if isinstance(url, str):
        return _server_of_text(url)
    host = getattr(url, "hostname", None) or getattr(url, "host", None)
    return (host, getattr(url, "port", None) or (80 if getattr(url, "scheme", "") == "http" else 443)) if host else None


@lru_cache(maxsize=64)
def _server_of_text(url: str) -> tuple[str, int] | None:
    return server_of(urlsplit(url))


@lru_cache(maxsize=256)
def _by_host(host: str) -> str | None:
    provider = _HOSTS.get(host)
    for table, matches in ((_PREFIXES, host.startswith), (_SUFFIXES, host.endswith)):
        provider = provider or next((table[text] for text in table if matches(text)), None)
    return provider
