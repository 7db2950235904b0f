"""Content of an agent or workflow block: its own, or that of the calls inside."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from loopback_vendor import Vendor, by_name, only
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace import agent, tag, tool, workflow


def ask(vendor: Vendor, **more: Any) -> Any:
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client:
        return client.chat.completions.create(model="m", messages=[], **more)


@pytest.mark.parametrize("kind", [agent, workflow])
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_block_without_content_records_that_of_the_calls_inside(
    open_spans: InMemorySpanExporter, vendor: Vendor, kind: Any, streamed: bool
) -> None:
    """The first input and the last output of the calls inside, redacted; a nested block passes them outward."""
    vendor.go_on.set()
    with kind("outer"), tool("t"), openai.OpenAI(base_url=vendor.url, api_key="x") as client, agent("inner"):
        for text in ("first secret", "second"):
            question: Any = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": text}]
            result: Any = client.chat.completions.create(model="m", messages=question, stream=streamed)
            if streamed:
                list(result)
    llmtrace.flush()
    for name in ("outer", "inner"):
        attributes = next(
            dict(span.attributes or {}) for span in open_spans.get_finished_spans() if span.name.endswith(name)
        )
        (part,) = json.loads(attributes["gen_ai.input.messages"])[-1]["parts"]
        assert part["content"] == "first ****"
        (got,) = json.loads(attributes["gen_ai.output.messages"])
        assert got["parts"][0]["content"].startswith("Blue")
        assert got["finish_reason"] == "stop"
    assert "gen_ai.input.messages" not in only(open_spans, "execute_tool")


def test_content_of_a_block_precedes_that_of_the_calls_inside(open_spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """Content that the program sets is not replaced; a side that it does not set is filled in."""
    with workflow("own") as run:
        ask(vendor)
        run.result("mine")

    @workflow
    def decorated(question: str) -> None:
        with openai.OpenAI(base_url=vendor.url, api_key="x") as client:
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "inner"}])

    decorated("mine")
    own, filled = by_name(open_spans, "invoke_workflow")
    assert json.loads(own.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "mine"
    assert json.loads(filled.attributes["gen_ai.input.messages"])[0]["parts"][0]["content"] == "mine"
    assert json.loads(filled.attributes["gen_ai.output.messages"])[0]["parts"][0]["content"] == "Blue."


def test_content_mode_of_the_block_decides_over_the_calls_inside(
    open_spans: InMemorySpanExporter, vendor: Vendor
) -> None:
    """The block's own mode decides, whatever the mode of the calls inside; and the other way round."""
    with tag(capture_content=False), workflow("closed"), tag(capture_content=True):
        ask(vendor)
    with workflow("open"), tag(capture_content=False):
        ask(vendor)
    for span in by_name(open_spans, "invoke_workflow"):
        assert not [name for name in span.attributes if name.endswith(".messages")]


def test_block_has_question_and_answer_in_trace_lists(vendor: Vendor) -> None:
    """The values that Phoenix lists are made of the first input and the last output."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    settings: dict[str, Any] = {"tracer_provider": provider, "capture_content": True, "bridges": "openinference"}
    with llmtrace.instrument(**settings), workflow("w"), openai.OpenAI(base_url=vendor.url, api_key="x") as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": "What colour?"}])
    attributes = only(exporter, "invoke_workflow")
    assert (attributes["input.value"], attributes["output.value"]) == ("What colour?", "Blue.")
    provider.shutdown()
