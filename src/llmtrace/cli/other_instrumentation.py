"""Packages that trace the same calls as llmtrace, and what to switch off when both are active."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import metadata

from .._tables import read_tables

_ADVICE: dict[str, str] = read_tables("llmtrace.cli", "other_instrumentation.toml")["advice"]


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
