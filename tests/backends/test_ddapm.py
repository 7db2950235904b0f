"""Datadog's test agent takes a trace of ours over both OTLP protocols."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from running import Backend, ask
from scene import ANSWER, QUESTION, SESSION


def spans_of(backend: Backend, trace: str) -> list[dict[str, Any]]:
    """The spans of one trace as the agent has them."""
    wanted = base64.b64encode(bytes.fromhex(trace)).decode()
    received = ask(f"{backend.url}/test/session/traces")
    scopes = [scope for sent in received for resource in sent["resource_spans"] for scope in resource["scope_spans"]]
    return [span for scope in scopes for span in scope["spans"] if span["trace_id"] == wanted]


def attributes_of(span: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: next(iter(each["value"].values()), None) for each in span["attributes"]}


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_trace_arrives_complete(protocol: str, running: Callable[[str], Backend]) -> None:
    """All spans are there with names, kinds, parents, tokens, cost and messages, once each."""
    backend = running("ddapm")
    environ = {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": protocol}
    if protocol == "grpc":
        environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = backend.grpc_url
    spans = spans_of(backend, backend.play(**environ))
    names = ["chat claude-sonnet-4-5", "chat gpt-4o", "chat gpt-4o", "embeddings text-embedding-3-small"]
    names += ["execute_tool get_author", "execute_tool get_weather", "invoke_agent guide", "rerank ranker", "retrieval"]
    assert sorted(span["name"] for span in spans) == names
    (root,) = [span for span in spans if span["name"] == "invoke_agent guide"]
    assert {span.get("parent_span_id") for span in spans if span is not root} == {root["span_id"]}
    chats = [span for span in spans if span["name"].startswith("chat")]
    assert {span["kind"] for span in chats} == {"SPAN_KIND_CLIENT"}
    for span in chats:
        reported = attributes_of(span)
        assert (reported["gen_ai.usage.input_tokens"], reported["gen_ai.usage.output_tokens"]) == ("1000", "200")
        assert reported["llm.cost.total"] > 0
        assert reported["session.id"] == SESSION
        assert QUESTION in json.dumps(json.loads(reported["gen_ai.input.messages"]))
    assert any(ANSWER in attributes_of(span)["gen_ai.output.messages"] for span in chats)
