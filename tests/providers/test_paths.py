"""Requests that a program sends by path, and data in paths and queries."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from answers import CHAT, QUESTION, RESPONSE, sse
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


@pytest.mark.parametrize("path", ["/chat/completions", "chat/completions"])
def test_request_by_path_is_traced(loopback: Loopback, spans: InMemorySpanExporter, path: str) -> None:
    """A request by path is traced with and without the leading slash, since the SDK accepts both."""
    loopback.will(json_answer(CHAT))
    with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
        client.post(path, body={"model": "m", "messages": QUESTION}, cast_to=object)
    (span,) = spans.get_finished_spans()
    assert span.name == "chat m"
    assert loopback.received[0].path == "/chat/completions"


@pytest.mark.skipif(tuple(map(int, openai.__version__.split(".")[:2])) < (1, 99), reason="no resumed streams yet")
def test_resumed_stream_records_its_cursor(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A stored response that is resumed after an event records that event."""
    ended: dict[str, Any] = {"type": "response.completed", "sequence_number": 3, "response": RESPONSE}
    loopback.will(stream_answer(sse([ended])))
    with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
        list(client.responses.retrieve("resp_1", stream=True, starting_after=2))
    (span,) = spans.get_finished_spans()
    assert span.name == "fetch_response"
    assert (span.attributes or {})["gen_ai.request.stream_cursor"] == "2"


@pytest.mark.skipif(not hasattr(openai.OpenAI, "responses"), reason="no responses yet")
def test_failed_fetch_records_the_response_id(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A failed fetch records the response id and the provider's request id."""
    error = json_answer({"error": {"message": "none", "code": "not_found"}}, status=404)
    error.headers["x-amzn-requestid"] = "aws-1"
    loopback.will(error)
    with (
        openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client,
        pytest.raises(openai.NotFoundError),
    ):
        client.responses.retrieve("resp_1")
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["gen_ai.response.id"] == "resp_1"
    assert (span.attributes or {})["llmtrace.request_id"] == "aws-1"
