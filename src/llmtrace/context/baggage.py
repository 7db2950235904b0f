"""Tags in OpenTelemetry baggage: only keys that were opted in, and never on requests to a vendor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from opentelemetry import baggage as otel_baggage
from opentelemetry.context import Context

from .._compat.opentelemetry_context import BAGGAGE_KEY
from ..model import CallContext

_PREFIX = "llmtrace."
_FIELDS = frozenset({"feature", "user", "session", "tenant"})

keys: tuple[str, ...] = ()
"""Names of the tags that are propagated to other services."""


redact: Callable[[str], str] | None = None
"""Function applied to each propagated value."""


def configure(chosen: tuple[str, ...], redactor: Callable[[str], str] | None = None) -> None:
    """Set the names of the propagated tags and the function that redacts their values."""
    global keys, redact
    keys, redact = chosen, redactor


def write(call_context: CallContext, context: Context) -> Context:
    """Return ``context`` with the opted-in tags of ``call_context`` in its baggage."""
    for key in keys:
        value = getattr(call_context, key) if key in _FIELDS else call_context.metadata.get(key)
        if value is not None:
            text = str(value) if redact is None else redact(str(value))
            context = otel_baggage.set_baggage(_PREFIX + key, text, context)
    return context


def read(call_context: CallContext, context: Context) -> CallContext:
    """Return ``call_context`` with tags from the baggage of ``context``; tags of a local block take precedence."""
    entries = otel_baggage.get_all(context)
    if not entries:
        return call_context
    changes: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    for key in keys:
        value = entries.get(_PREFIX + key)
        if not isinstance(value, str) or not value:
            continue
        if key not in _FIELDS:
            metadata[key] = value
        elif getattr(call_context, key) is None:
            changes[key] = value
    if metadata.keys() - call_context.metadata.keys():
        changes["metadata"] = {**metadata, **call_context.metadata}
    return replace(call_context, **changes) if changes else call_context


def without(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the values of a context without llmtrace's baggage entries; the application's entries stay."""
    entries = values.get(BAGGAGE_KEY)
    if not isinstance(entries, Mapping) or not any(name.startswith(_PREFIX) for name in entries):
        return values
    return {**values, BAGGAGE_KEY: {name: value for name, value in entries.items() if not name.startswith(_PREFIX)}}
