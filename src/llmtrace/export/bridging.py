"""Bridges applied on the way to one destination, so that the names of one backend reach no other."""

from __future__ import annotations

import os
from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from .._errors import log_internal_error
from .._text import encodable
from ..telemetry import names
from ..telemetry.bridges import LIMIT, bridge_attributes, within
from .batch import Sink

__all__ = ["BridgingExporter", "bridges_for", "translate"]


def bridges_for(bridges: Sequence[str], endpoint: str | None) -> tuple[str, ...]:
    """The bridges of a destination: the settings', and Langfuse's own where the address is Langfuse."""
    chosen = list(bridges)
    if endpoint and "/api/public/otel" in urlsplit(endpoint).path and "langfuse" not in chosen:
        chosen.append("langfuse")
    return tuple(chosen)


def translate(spans: Sequence[ReadableSpan], bridges: Sequence[str]) -> list[ReadableSpan]:
    """New spans with what ``bridges`` add; a span that they cannot read goes as it is."""
    return [_translated(span, bridges) for span in spans]


def _translated(span: ReadableSpan, bridges: Sequence[str]) -> ReadableSpan:
    try:
        attributes = span.attributes or {}
        extra = bridge_attributes(attributes, bridges, started=span.start_time or 0)
        resource = _resource(span.resource) if "openinference" in bridges else span.resource
        if not extra and resource is span.resource:
            return span
        limit = min(getattr(getattr(span, "_attributes", None), "maxlen", None) or LIMIT, LIMIT)
        return ReadableSpan(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=resource,
            attributes=within({**attributes, **extra}, limit),
            events=span.events,
            links=span.links,
            kind=span.kind,
            status=span.status,
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )
    except Exception:
        log_internal_error("bridge a span")
        return span


def _resource(resource: Resource) -> Resource:
    """With the project that Phoenix files the spans under, which is not ``service.name`` to it."""
    known = resource.attributes
    if names.OI_PROJECT in known:
        return resource
    project = os.environ.get("PHOENIX_PROJECT_NAME", "").strip() or known.get("service.name")
    if not isinstance(project, str) or not (project := encodable(project)) or project.startswith("unknown_service"):
        return resource
    return resource.merge(Resource({names.OI_PROJECT: project}))


class BridgingExporter:
    """A sink that gets the spans translated."""

    def __init__(self, inner: Sink, bridges: Sequence[str]) -> None:
        self.inner = inner
        self.bridges = tuple(bridges)
        self.keeps, self.rest = inner.keeps, inner.rest
        self.start, self.flush, self.close, self.after_fork = inner.start, inner.flush, inner.close, inner.after_fork
        self.retry = inner.retry

    @property
    def waits(self) -> bool:
        return self.inner.waits

    def write(self, spans: Sequence[ReadableSpan]) -> None:
        self.inner.write(translate(spans, self.bridges))
