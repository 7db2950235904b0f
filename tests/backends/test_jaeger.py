"""Jaeger returns a trace as it was sent, over both OTLP protocols, with and without TLS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.error import HTTPError

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from running import Backend, ask, relay, until

STEADY = ("gen_ai.", "llm.", "llmtrace.cost.", "session.", "user.", "metadata", "openinference.", "input.", "output.")
"""Prefixes of attributes with the same values in every run of the scene."""


@pytest.fixture(scope="module")
def jaeger(running: Callable[[str], Backend]) -> Backend:
    return running("jaeger")


def read_value(value: Any) -> Any:
    """Return a value of OTLP's JSON form with its type."""
    ((kind, content),) = value.items()
    match kind:
        case "arrayValue":
            return [read_value(item) for item in content.get("values", ())]
        case "intValue":
            return int(content)
        case "doubleValue":
            return float(content)
    return content


def read_proto(value: Any) -> Any:
    """Return a value of OTLP's protobuf form with its type."""
    kind = value.WhichOneof("value")
    return [read_proto(item) for item in value.array_value.values] if kind == "array_value" else getattr(value, kind)


def sent_spans(bodies: Iterable[bytes]) -> dict[str, Any]:
    """Return all that a span can hold, by span id, as OTLP requests have it."""
    spans = {}
    for body in bodies:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = {pair.key: read_proto(pair.value) for pair in group.resource.attributes}
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
                        "attributes": {pair.key: read_proto(pair.value) for pair in span.attributes},
                        "events": [
                            (event.name, {pair.key: read_proto(pair.value) for pair in event.attributes})
                            for event in span.events
                        ],
                    }
    return spans


def stored_spans(backend: Backend, trace: str, count: int) -> dict[str, Any]:
    """Return the spans of a trace, by span id, from Jaeger's query API."""

    def find() -> Any:
        groups = ask(f"{backend.query_url}/api/v3/traces/{trace}")["result"]["resourceSpans"]
        scopes = [(group, scope) for group in groups for scope in group["scopeSpans"]]
        spans = [read_span(group, scope, span) for group, scope in scopes for span in scope["spans"]]
        return spans if len(spans) >= count else None

    spans = until(find)
    assert spans is not None, "Jaeger does not return the trace"
    assert len(spans) == count
    return dict(spans)


def read_span(group: Any, scope: Any, span: Any) -> tuple[str, Any]:
    def pairs(source: Any) -> dict[str, Any]:
        return {pair["key"]: read_value(pair["value"]) for pair in source.get("attributes", ())}

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


@pytest.fixture(scope="module")
def sent_and_stored(jaeger: Backend) -> tuple[dict[str, Any], dict[str, Any]]:
    with relay(f"{jaeger.url}/v1/traces") as (address, bodies):
        trace = jaeger.play(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address)
    sent = sent_spans(bodies)
    return sent, stored_spans(jaeger, trace, len(sent))


def test_stored_trace_equals_what_was_sent(sent_and_stored: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Every span is there once, with equal attributes of equal types, parents, times, status, events and resource."""
    sent, stored = sent_and_stored
    assert len(sent) == 7
    assert stored == sent
    types = {key: type(value) for span in sent.values() for key, value in span["attributes"].items()}
    assert {key: type(value) for span in stored.values() for key, value in span["attributes"].items()} == types


@pytest.mark.parametrize("way", ["grpc", "secure", "secure_grpc"])
def test_trace_is_the_same_over_every_protocol(
    jaeger: Backend, sent_and_stored: tuple[dict[str, Any], dict[str, Any]], way: str
) -> None:
    """With gRPC, TLS and a password the same spans arrive with the same attributes."""
    variables = {
        "grpc": {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": jaeger.grpc_url,
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc",
        },
        "secure": jaeger.secure,
        "secure_grpc": jaeger.secure_grpc,
    }[way]
    trace = jaeger.play(**variables)
    assert summary(stored_spans(jaeger, trace, 7)) == summary(sent_and_stored[1])


def summary(spans: dict[str, Any]) -> list[Any]:
    """Return what does not change from one run of the scene to the next."""
    return sorted(
        (span["name"], span["kind"], sorted(span["attributes"]), [
            (key, value) for key, value in sorted(span["attributes"].items()) if key.startswith(STEADY)
        ])
        for span in spans.values()
    )  # fmt: skip


def test_wrong_password_stores_nothing(jaeger: Backend) -> None:
    """The receiver refuses a wrong password, so the tests above prove that the header is sent."""
    variables = {**jaeger.secure, "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Basic%20eDp5"}
    trace = jaeger.play(**variables)
    with pytest.raises(HTTPError, match="404"):
        ask(f"{jaeger.query_url}/api/v3/traces/{trace}")
