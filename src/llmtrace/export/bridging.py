"""Bridges of one destination: extra attributes for its vocabulary, which no other destination receives."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan

from .._compat.span_attributes import export_limit
from .._errors import log_internal_error
from .._settings.environment import variable
from .._text import encodable
from ..telemetry import names
from ..telemetry.bridges import bridge_attributes, within


def bridges_for(bridges: Sequence[str], endpoint: str | None) -> tuple[str, ...]:
    """Return the bridges of a destination: those of the settings, and ``langfuse`` for an address of Langfuse."""
    names_of_bridges = list(bridges)
    if endpoint and "/api/public/otel" in urlsplit(endpoint).path and "langfuse" not in names_of_bridges:
        names_of_bridges.append("langfuse")
    return tuple(names_of_bridges)


def translate(spans: Sequence[ReadableSpan], bridges: Sequence[str]) -> list[ReadableSpan]:
    """Return copies of the spans with the attributes of ``bridges``; a span that fails is returned unchanged."""
    return [_translate_span(span, bridges) for span in spans]


def _translate_span(span: ReadableSpan, bridges: Sequence[str]) -> ReadableSpan:
    try:
        attributes = span.attributes or {}
        extra = bridge_attributes(attributes, bridges, started=span.start_time or 0)
        resource = _resource(span.resource) if "openinference" in bridges else span.resource
        if not extra and resource is span.resource:
            return span
        return ReadableSpan(
            name=span.name,
            context=span.get_span_context(),
            parent=span.parent,
            resource=resource,
            attributes=within({**attributes, **extra}, export_limit(span)),
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
    """Return the resource with OpenInference's project name, because Phoenix does not read ``service.name``."""
    attributes = resource.attributes
    if names.OI_PROJECT in attributes:
        return resource
    project = variable("PHOENIX_PROJECT_NAME") or attributes.get("service.name")
    if not isinstance(project, str) or not (project := encodable(project)) or project.startswith("unknown_service"):
        return resource
    return resource.merge(Resource({names.OI_PROJECT: project}))
