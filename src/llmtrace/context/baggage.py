"""Tags that travel to other services: only those whose keys were opted in, and never to a vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentelemetry import baggage as otel_baggage
from opentelemetry.context import Context

from .._compat.opentelemetry_context import BAGGAGE_KEY
from ..model import CallContext

__all__ = ["configure", "keys", "read", "without", "write"]

_PREFIX = "llmtrace."
_FIELDS = frozenset({"feature", "user", "session", "tenant"})

keys: tuple[str, ...] = ()
"""The names of tags that may travel."""


redact: Callable[[str], str] | None = None
"""Applied to each value that travels."""


def configure(chosen: tuple[str, ...], redactor: Callable[[str], str] | None = None) -> None:
    global keys, redact
    keys, redact = chosen, redactor


def write(scope: CallContext, context: Context) -> Context:
    """``context`` with the opted-in tags of ``scope`` in its baggage."""
    for key in keys:
        value = getattr(scope, key) if key in _FIELDS else scope.metadata.get(key)
        if value is not None:
            text = str(value) if redact is None else redact(str(value))
            context = otel_baggage.set_baggage(_PREFIX + key, text, context)
    return context


def read(scope: CallContext, context: Context) -> CallContext:
    """``scope`` with what an upstream service said, where no block here says otherwise."""
    told = otel_baggage.get_all(context)
    if not told:
        return scope
    found: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for key in keys:
        value = told.get(_PREFIX + key)
        if not isinstance(value, str) or not value:
            continue
        if key not in _FIELDS:
            metadata[key] = value
        elif getattr(scope, key) is None:
            found[key] = value
    if metadata.keys() - scope.metadata.keys():
        found["metadata"] = {**metadata, **scope.metadata}
    return replace(scope, **found) if found else scope


def without(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The values of a context without our entries in its baggage; the application's own stay."""
    told = values.get(BAGGAGE_KEY)
    if not isinstance(told, Mapping) or not any(name.startswith(_PREFIX) for name in told):
        return values
    return {**values, BAGGAGE_KEY: {name: value for name, value in told.items() if not name.startswith(_PREFIX)}}
