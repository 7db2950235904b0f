"""Faults of our own while results inside a response are read: the caller gets the same, and the call keeps its span."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import openai
import pytest
from google.genai import types
from google_server import Gemini, answer
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace._errors import internal_errors
from llmtrace.capture import results
from llmtrace.providers.google import batches
from serving import serving

_numbers = count()
RESULT = {"response": answer("Hello", modelVersion="gemini-2.5-flash", usage={"promptTokenCount": 10})}


@pytest.fixture
def tolerant() -> Iterator[InMemorySpanExporter]:
    """Finished spans of an instrumentation that survives faults of its own."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(resource=Resource.get_empty())
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with llmtrace.instrument(tracer_provider=provider, strict=False):
        yield exporter
    provider.shutdown()


@pytest.fixture
def gemini() -> Iterator[Gemini]:
    with serving(Gemini()) as server:
        yield server


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a fault of ours")


def fetch(gemini: Gemini) -> Any:
    """Fetch a batch with two results."""
    if "inlined_responses" not in types.BatchJobDestination.model_fields:
        pytest.skip("this release has none")
    name = f"batches/faults-{next(_numbers)}"
    output = {"inlinedResponses": {"inlinedResponses": [RESULT, RESULT]}}
    details = {"name": name, "state": "BATCH_STATE_SUCCEEDED", "output": output}
    gemini.will({"name": name, "metadata": details})
    client = gemini.client()
    return client.batches.get(name=name).dest.inlined_responses


def download(gemini: Gemini) -> Any:
    """Download a file with two results."""
    gemini.will(b"".join(json.dumps(RESULT).encode() + b"\n" for _ in range(2)))
    client = gemini.client()
    return client.files.download(file=f"files/faults-{next(_numbers)}").splitlines()


def list_turns(gemini: Gemini) -> Any:
    """List two turns of a hosted agent."""
    client = openai.OpenAI(base_url=f"http://127.0.0.1:{gemini.server_port}", api_key="k", max_retries=0)
    if not hasattr(client.beta, "agents"):
        pytest.skip("this release has none")
    turns = [{"id": f"faults_{next(_numbers)}", "status": "completed", "session_id": "s"} for _ in range(2)]
    gemini.will({"data": turns, "has_more": False})
    with client:
        return client.beta.agents.sessions.turns.list("s").data


RECORDING = [(results.background, "claim"), (results, "CallState")]
CASES = [
    *((fetch, place, "read a result", 2, 1) for place in RECORDING),
    *((download, place, "read a result", 2, 0) for place in RECORDING),
    *((list_turns, place, "read a result", 2, 1) for place in RECORDING),
    (fetch, (batches, "_results"), "read a response", 1, 1),
    (download, (batches, "_open"), "read the results of a batch", 1, 0),
    (download, (batches, "_Lines"), "read the results of a batch", 1, 0),
]


@pytest.mark.parametrize(("call", "place", "action", "faults", "left"), CASES)
def test_fault_costs_results_and_nothing_else(
    gemini: Gemini,
    tolerant: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    call: Any,
    place: tuple[Any, str],
    action: str,
    faults: int,
    left: int,
) -> None:
    """The caller's result is complete, the fault is counted, and the call that has the results keeps its span."""
    monkeypatch.setattr(*place, boom)
    assert len(call(gemini)) == 2
    assert llmtrace.flush()
    assert internal_errors.pop(action) == faults
    assert len(tolerant.get_finished_spans()) == left
