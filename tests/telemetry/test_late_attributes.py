"""What a span tells is what was so when the call was made, whenever somebody looks."""

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


def ask(url: str, **more: Any) -> Any:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:
        result: Any = client.chat.completions.create(model="gpt-5", messages=QUESTION, **more)
        return list(result) if more.get("stream") else result


def provider_into(exporter: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider


def looked_at(exporter: InMemorySpanExporter) -> list[dict[str, Any]]:
    return [dict(span.attributes or {}) for span in exporter.get_finished_spans()]


def asked_and_changed(url: str, stream: bool) -> None:
    """A caller that goes on to use for something else what it gave and what it got."""
    stop = ["x"]
    answer = ask(url, stop=stop, stream=stream)
    stop.append("secret")
    for each in answer if stream else [answer]:
        if each.usage is not None:
            each.usage.prompt_tokens = 10**6
        each.model = each.id = "other"
        each.choices.clear()


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_what_the_caller_changes_afterwards_changes_nothing(replay: Any, stream: bool) -> None:
    """Neither what it asked, nor what it was told, nor what that cost; nor do other settings."""
    early, late = InMemorySpanExporter(), InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=provider_into(early), strict=True):
        ask(replay.url, stop=["x"], stream=stream)
        first = looked_at(early)
    with llmtrace.instrument(tracer_provider=provider_into(late), strict=True):
        asked_and_changed(replay.url, stream)
    with llmtrace.instrument(
        tracer_provider=provider_into(InMemorySpanExporter()),
        prices=[{"model": "*", "input": "99", "output": "99"}],
        bridges="none",
    ):
        second = looked_at(late)
    for told in (*first, *second):
        for name in [name for name in told if "stream" in name or "first" in name]:
            del told[name]
    assert first == second
    assert first[0]["gen_ai.request.stop_sequences"] == ("x",)


def test_who_writes_into_a_record_writes_into_no_span(replay: Any) -> None:
    """Nor into the tags of the calls that follow."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=provider_into(exporter), strict=True):
        with llmtrace.tag(region="eu"), llmtrace.collect() as calls:
            ask(replay.url)
            calls[0].metadata["region"] = "nowhere"  # type: ignore[index]
            ask(replay.url)
        assert [told["llmtrace.tag.region"] for told in looked_at(exporter)] == ["eu", "eu"]


class Large:
    """Something of the application's that it has let go of."""


def asked_with(large: Large, url: str) -> None:
    token = context.attach(context.set_value("mine", large))
    try:
        with llmtrace.prompt("p", template="{text}", variables={"text": large}), llmtrace.collect():
            with llmtrace.retrieval("files") as found:
                found.add([llmtrace.Document("d1", content="long", metadata={"whole": large})])
            ask(url)
    finally:
        context.detach(token)


def test_a_span_that_nobody_reads_holds_nothing_large(replay: Any) -> None:
    """Neither the context of its call nor what was searched for it, which it tells no more of than the ids."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=provider_into(exporter), strict=True):
        large = Large()
        gone = weakref.ref(large)
        asked_with(large, replay.url)
        del large
        gc.collect()
        assert gone() is None
    told = looked_at(exporter)[-1]
    assert (told["gen_ai.prompt.name"], told["llmtrace.retrieval.document_ids"]) == ("p", ("d1",))


def test_what_others_set_meanwhile_stays(replay: Any) -> None:
    """A hook of the application's may write on the span of the call while that lasts."""
    exporter = InMemorySpanExporter()

    def hook(response: Any) -> None:
        trace.get_current_span().set_attributes({"mine": 1, "gen_ai.request.model": "of the hook"})

    http = openai.DefaultHttpxClient(event_hooks={"response": [hook]})
    with (
        llmtrace.instrument(tracer_provider=provider_into(exporter), strict=True),
        openai.OpenAI(base_url=f"{replay.url}/v1", api_key="x", http_client=http) as client,
    ):
        client.chat.completions.create(model="gpt-5", messages=QUESTION)
    (told,) = looked_at(exporter)
    assert (told["mine"], told["gen_ai.request.model"]) == (1, "gpt-5")
    assert "llm.cost.total" in told


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_between_the_end_and_the_look(replay: Any) -> None:
    """Parent and child see the same."""
    exporter = InMemorySpanExporter()
    with llmtrace.instrument(tracer_provider=provider_into(exporter), strict=True):
        ask(replay.url)
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writing, repr(looked_at(exporter)).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
    assert told == repr(looked_at(exporter))
    assert "llm.cost.total" in told
