"""Spans as a program sent them and as backends return them, in a form that can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from running import Backend, ask, until


def _read_value(value: Any) -> Any:
    """Return a value of OTLP's JSON form with its type."""
    ((kind, content),) = value.items()
    match kind:
        case "arrayValue":
            return [_read_value(item) for item in content.get("values", ())]
        case "intValue":
            return int(content)
        case "doubleValue":
            return float(content)
    return content


def _read_proto(value: Any) -> Any:
    """Return a value of OTLP's protobuf form with its type."""
    kind = value.WhichOneof("value")
    return [_read_proto(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def sent_spans(bodies: Iterable[bytes]) -> dict[str, Any]:
    """Return all that a span can hold, by span id, as OTLP requests have it."""
    spans = {}
    for body in bodies:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {pair.key: _read_proto(pair.value) for pair in group.resource.attributes}
            for scope in group.scope_spans:
                for span in scope.spans:
                    spans[span.span_id.hex()] = {
                        "resource": resource,
                        "scope": (scope.scope.name, scope.scope.version),
                        "trace": span.trace_id.hex(),
                        "parent": span.parent_span_id.hex(),
                        "name": span.name,
                        "kind": span.kind,
                        "times": (span.start_time_unix_nano, span.end_time_unix_nano),
                        "status": (span.status.code, span.status.message),
                        "attributes": {pair.key: _read_proto(pair.value) for pair in span.attributes},
                        "events": [
                            (event.name, {pair.key: _read_proto(pair.value) for pair in event.attributes})
                            for event in span.events
                        ],
                    }
    return spans


def stored_in_jaeger(backend: Backend, trace: str, count: int) -> dict[str, Any]:
    """Return the spans of a trace, by span id, from Jaeger's query API."""

    def find() -> Any:
        groups = ask(f"{backend.query_url}/api/v3/traces/{trace}")["result"]["resourceSpans"]
        scopes = [(group, scope) for group in groups for scope in group["scopeSpans"]]
        spans = [_read_span(group, scope, span) for group, scope in scopes for span in scope["spans"]]
        return spans if len(spans) >= count else None

    spans = until(find)
    assert spans is not None, "Jaeger does not return the trace"
    assert len(spans) == count
    return dict(spans)


def _read_span(group: Any, scope: Any, span: Any) -> tuple[str, Any]:
    def pairs(source: Any) -> dict[str, Any]:
        return {pair["key"]: _read_value(pair["value"]) for pair in source.get("attributes", ())}

    status = span.get("status", {})
    return span["spanId"], {
        "resource": pairs(group["resource"]),
        "scope": (scope["scope"]["name"], scope["scope"]["version"]),
        "trace": span["traceId"],
        "parent": span.get("parentSpanId", ""),
        "name": span["name"],
        "kind": span["kind"],
        "times": (int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])),
        "status": (status.get("code", 0), status.get("message", "")),
        "attributes": pairs(span),
        "events": [(event["name"], pairs(event)) for event in span.get("events", ())],
    }


_STATUS = {0: "UNSET", 1: "OK", 2: "ERROR"}


def as_phoenix_has_it(span: dict[str, Any]) -> dict[str, Any]:
    """Return a span of ``sent_spans`` as Phoenix returns it: in microseconds, with JSON objects taken apart."""
    attributes = {key: value for name, value in span["attributes"].items() for key, value in _flat(name, value)}
    code, message = span["status"]
    return {
        "trace": span["trace"],
        "parent": span["parent"],
        "name": span["name"],
        "kind": attributes.pop("openinference.span.kind"),
        "times": tuple(datetime.fromtimestamp(time / 1e9, UTC) for time in span["times"]),
        "status": (_STATUS[code], message),
        "attributes": attributes,
        "events": span["events"],
    }


_EXPANDED = ("metadata", "llm.prompt_template.variables")


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if name in _EXPANDED or name.endswith(".document.metadata"):
        yield from ((f"{name}.{key}", item) for key, item in json.loads(value).items())
    else:
        yield name, value


def stored_in_phoenix(backend: Backend, project: str, sent: dict[str, Any]) -> dict[str, Any]:
    """Return the spans of a project, by span id, without the attributes that Phoenix has added to those in ``sent``."""

    def find() -> Any:
        spans = ask(f"{backend.url}/v1/projects/{project}/spans?limit=50")["data"]
        return spans if len(spans) >= len(sent) else None

    spans = until(find)
    assert spans is not None, "Phoenix does not return the trace"
    assert len(spans) == len(sent)
    return {
        span["context"]["span_id"]: {
            "trace": span["context"]["trace_id"],
            "parent": span["parent_id"] or "",
            "name": span["name"],
            "kind": span["span_kind"],
            "times": (datetime.fromisoformat(span["start_time"]), datetime.fromisoformat(span["end_time"])),
            "status": (span["status_code"], span["status_message"]),
            "attributes": {
                name: value
                for name, value in span["attributes"].items()
                if name in sent[span["context"]["span_id"]]["attributes"]
            },
            "events": [(event["name"], event["attributes"]) for event in span["events"]],
        }
        for span in spans
    }
