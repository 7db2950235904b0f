"""Arrival times of the chunks of a stream."""

from __future__ import annotations

from time import perf_counter

import pytest
from answers import CHAT_CHUNKS, QUESTION, sse
from helpers import attributes
from loopback import Loopback, stream_answer
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from stainless_clients import make_client


def test_long_gaps_are_stalls(loopback: Loopback, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaps far above the usual ones are stalls; the longest is recorded."""
    begun, gaps = perf_counter(), [0.0, *[0.01] * 6, 5.0, 2.0, 0.5, 9.0]
    times = iter([begun + sum(gaps[: index + 1]) for index in range(len(gaps))])
    monkeypatch.setattr("llmtrace.capture.stream.perf_counter", lambda: next(times))
    first, second, *_ = CHAT_CHUNKS
    loopback.will(stream_answer(sse([first, *[second] * (len(gaps) - 1)], done=True)))
    with make_client("openai", "sync", loopback.url) as client:
        assert len(list(client.chat.completions.create(model="m", messages=QUESTION, stream=True))) == len(gaps)
    got = attributes(spans)
    assert got["llmtrace.stream.stalls"] == 3
    assert got["llmtrace.stream.time_per_output_chunk.max"] == pytest.approx(9.0)
