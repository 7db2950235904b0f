"""Calls while the process forks, and while another thread instruments and uninstruments."""

from __future__ import annotations

import os
import threading
from itertools import pairwise
from typing import Any

import openai
import pytest
import wrapt
from answers import CHAT, CHAT_CHUNKS, QUESTION, sse
from loopback import Loopback, json_answer, stream_answer
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace


def call(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(model="m", messages=QUESTION, **more)


def traced() -> tuple[TracerProvider, InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, exporter


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_fork_in_mid_stream_ends_the_span_once(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A child that inherits and drops an open stream ends no span; the parent's span ends as it is read."""
    loopback.will(stream_answer(sse(CHAT_CHUNKS, done=True)))
    with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
        stream = call(client, stream=True)
        next(iter(stream))
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                del stream
                llmtrace.flush(2)
                os.write(writing, str(len(spans.get_finished_spans())).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reading, 10) == b"0"
        os.close(reading)
        os.close(writing)
        list(stream)
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


def test_calls_succeed_while_instrumentation_changes(loopback: Loopback) -> None:
    """Calls in threads succeed while llmtrace is turned on and off; each has at most one span."""
    loopback.will(json_answer(CHAT))
    failed: list[BaseException] = []
    done = threading.Event()
    made = [0]

    def work() -> None:
        try:
            with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
                while not done.is_set():
                    assert call(client).id == CHAT["id"]
                    made[0] += 1
        except BaseException as error:
            failed.append(error)

    before = openai._base_client.SyncAPIClient.__dict__["request"]
    provider, exporter = traced()
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(30):
        llmtrace.instrument(tracer_provider=provider, strict=True)
        goal = made[0] + 3
        while made[0] < goal and not failed:
            done.wait(0.005)
        llmtrace.uninstrument()
    done.set()
    for thread in threads:
        thread.join()
    assert failed == []
    found = exporter.get_finished_spans()
    assert 30 <= len(found) <= made[0] + 3
    assert len({span.context.span_id for span in found}) == len(found)  # type: ignore[union-attr]
    assert all((span.attributes or {})["llmtrace.outcome"] == "ok" for span in found)
    assert openai._base_client.SyncAPIClient.__dict__["request"] is before
    provider.shutdown()


def test_hook_below_another_wrapper_is_disabled(loopback: Loopback) -> None:
    """Below another package's wrapper our hook stays disabled; instrumenting again gives one span."""
    loopback.will(json_answer(CHAT))
    owner = openai._base_client.SyncAPIClient
    before = owner.__dict__["request"]
    counts = []
    try:
        with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
            provider, exporter = traced()
            llmtrace.instrument(tracer_provider=provider, strict=True)
            theirs = wrapt.FunctionWrapper(
                owner.__dict__["request"], lambda wrapped, _, args, kwargs: wrapped(*args, **kwargs)
            )
            owner.request = theirs
            for step in (lambda: None, llmtrace.uninstrument, lambda: llmtrace.instrument(tracer_provider=provider)):
                step()
                call(client)
                counts.append(len(exporter.get_finished_spans()))
            llmtrace.uninstrument()
            assert owner.__dict__["request"] is theirs
    finally:
        owner.request = before
    assert [later - earlier for earlier, later in pairwise([0, *counts])] == [1, 0, 1]


def test_concurrent_reader_gets_the_generators_error(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A second thread that reads a stream gets the generator's error, and the stream continues."""
    reading, go = threading.Event(), threading.Event()
    first, *rest = sse(CHAT_CHUNKS, done=True)
    loopback.will(stream_answer([first, reading.set, go.wait, *rest]))
    with openai.OpenAI(base_url=loopback.url, api_key="k", max_retries=0) as client:
        stream = call(client, stream=True)
        chunks: list[Any] = [next(iter(stream))]
        assert reading.wait(10)
        reader = threading.Thread(target=lambda: chunks.extend(stream))
        reader.start()
        while not stream._iterator.gi_running:
            pass
        with pytest.raises(ValueError, match="already executing"):
            next(iter(stream))
        go.set()
        reader.join()
    assert len(chunks) == len(CHAT_CHUNKS)
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["llmtrace.stream.end"] == "exhausted"


def test_unhashable_client_is_traced(loopback: Loopback, spans: InMemorySpanExporter) -> None:
    """A client whose class compares by value is traced like any other."""

    class Client(openai.OpenAI):  # noqa: PLW1641 - that it has no hash is the point
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Client)

    loopback.will(json_answer(CHAT))
    with Client(base_url=loopback.url, api_key="k", max_retries=0) as client:
        assert call(client).id == CHAT["id"]
    (span,) = spans.get_finished_spans()
    assert (span.attributes or {})["server.address"] == "127.0.0.1"
