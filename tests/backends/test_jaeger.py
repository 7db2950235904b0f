"""Jaeger returns a trace as it was sent, over both OTLP protocols, with and without TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.error import HTTPError

import pytest
from running import Backend, ask, relay
from scene import SPANS
from traces import sent_spans, stored_in_jaeger

STEADY = ("gen_ai.", "llm.", "llmtrace.cost.", "session.", "user.", "metadata", "openinference.", "input.", "output.")
"""Prefixes of attributes with the same values in every run of the scene."""


@pytest.fixture(scope="module")
def jaeger(running: Callable[[str], Backend]) -> Backend:
    return running("jaeger")


@pytest.fixture(scope="module")
def sent_and_stored(jaeger: Backend) -> tuple[dict[str, Any], dict[str, Any]]:
    with relay(f"{jaeger.url}/v1/traces") as (address, bodies):
        trace = jaeger.play(OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=address)
    sent = sent_spans(bodies)
    return sent, stored_in_jaeger(jaeger, trace, len(sent))


def test_stored_trace_equals_what_was_sent(sent_and_stored: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Every span is there once, with equal attributes of equal types, parents, times, status, events and resource."""
    sent, stored = sent_and_stored
    assert len(sent) == SPANS
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
    assert summary(stored_in_jaeger(jaeger, trace, SPANS)) == summary(sent_and_stored[1])


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
