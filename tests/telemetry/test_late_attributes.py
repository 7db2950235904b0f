"""Spans whose attributes are computed late describe the state at the time of the call."""

from __future__ import annotations

import gc
import os
import weakref
from typing import Any

import openai
import pytest
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace

QUESTION: Any = [{"role": "user", "content": "hi"}]


def call_model(url: str, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        result: Any = client.chat.completions.create(model="gpt-5", messages=QUESTION, **more)
        return list(result) if more.get("stream") else result


def make_provider(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def read_attributes(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]


def call_and_change(url: str, stream: bool) -> None:
    """Call a model, then change the objects of the request and the response."""
    stop = ["x"]
    response = call_model(url, stop=stop, stream=stream)
    stop.append("secret")
    for item in response if stream else [response]:
        if item.usage is not None:
            item.usage.prompt_tokens = 10**6
        item.model = item.id = "other"
        item.choices.clear()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_later_changes_do_not_affect_the_span(replay: Any, stream: bool) -> None:
    """Later changes of request, response, prices or settings do not change the attributes."""
    early, late = InMemorySpanExporter(), InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=make_provider(early), strict=True):
        call_model(replay.url, stop=["x"], stream=stream)
        first = read_attributes(early)
    with llmtrace.instrument(tracer_provider=make_provider(late), strict=True):
        call_and_change(replay.url, stream)
    with llmtrace.instrument(
        tracer_provider=make_provider(InMemorySpanExporter()),
        prices=[{"model": "*", "input": "99", "output": "99"}],
        bridges="none",
    ):
        second = read_attributes(late)
    for attributes in (*first, *second):
        for name in [name for name in attributes if "stream" in name or "first" in name]:
            del attributes[name]
    assert first == second
    assert first[0]["gen_ai.request.stop_sequences"] == ("x",)


def test_changing_a_call_record_does_not_change_spans(replay: Any) -> None:
    """Changing the metadata of a collected call changes neither its span nor the tags of later calls."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=make_provider(exporter), strict=True):
        with llmtrace.tag(region="eu"), llmtrace.collect() as calls:
            call_model(replay.url)
            calls[0].metadata["region"] = "nowhere"  # type: ignore[index]
            call_model(replay.url)
        assert [attributes["llmtrace.tag.region"] for attributes in read_attributes(exporter)] == ["eu", "eu"]


class Large:
    """Large object of the application."""


def call_with(large: Large, url: str) -> None:
    token = context.attach(context.set_value("mine", large))
    try:
        with llmtrace.prompt("p", template="{text}", variables={"text": large}), llmtrace.collect():
            with llmtrace.retrieval("files") as search:
                search.add([llmtrace.Document("d1", content="long", metadata={"whole": large})])
            call_model(url)
    finally:
        context.detach(token)


def test_unread_span_releases_context_and_documents(replay: Any) -> None:
    """An unread span keeps neither the context of its call nor the content of documents."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=make_provider(exporter), strict=True):
        large = Large()
        reference = weakref.ref(large)
        call_with(large, replay.url)
        del large
        gc.collect()
        assert reference() is None
    attributes = read_attributes(exporter)[-1]
    assert (attributes["gen_ai.prompt.name"], attributes["llmtrace.retrieval.document_ids"]) == ("p", ("d1",))


def test_attributes_set_during_the_call_are_kept(replay: Any) -> None:
    """Attributes that a hook of the application sets on the span of a running call are kept."""
    exporter = InMemorySpanExporter()

    def hook(response: Any) -> None:
        trace.get_current_span().set_attributes({"mine": 1, "gen_ai.request.model": "of the hook"})

    http = openai.DefaultHttpxClient(event_hooks={"response": [hook]})
    with (
        llmtrace.instrument(tracer_provider=make_provider(exporter), strict=True),
        openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x", http_client=http) as client,
    ):
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    (attributes,) = read_attributes(exporter)
    assert (attributes["mine"], attributes["gen_ai.request.model"]) == (1, "gpt-5")
    assert "llm.cost.total" in attributes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_before_the_first_read_gives_equal_attributes(replay: Any) -> None:
    """After a fork, parent and child read the same attributes."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=make_provider(exporter), strict=True):
        call_model(replay.url)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, repr(read_attributes(exporter)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            attributes = pipe.read()
        os.waitpid(child, 0)
    assert attributes == repr(read_attributes(exporter))
    assert "llm.cost.total" in attributes
