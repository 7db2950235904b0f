"""google-genai: batches, whose results are billed once each, at the prices of batches."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
from genai_calls import COLOURS, Side, exported
from google.genai import types
from google_server import Gemini, answer, resolve
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from llmtrace._process import logged_warnings
from llmtrace.capture import worker
from llmtrace.providers.google import batches as our_batches

_numbers = count()
USAGE = {"promptTokenCount": 1000, "candidatesTokenCount": 300, "totalTokenCount": 1300}
COST = "0.000525"  # half of 1000 * $0.3 and 300 * $2.5 per million
ERROR = {"code": 3, "message": "no"}


def result(key: str, usage: Any = USAGE, **more: Any) -> dict[str, Any]:
    more = {"modelVersion": "gemini-2.5-flash", "responseId": f"r_{key}", **more}
    return {"response": answer("Because of a secret.", usage=usage, **more), "metadata": {"key": key}}


def embedding(key: str) -> dict[str, Any]:
    return {"response": {"embedding": {"values": [0.5, 0.25]}, "tokenCount": 12}, "metadata": {"key": key}}


RESULTS = [result("a"), {"error": ERROR, "metadata": {"key": "b"}}, result("c")]


def batch(state: str = "SUCCEEDED", *, model: str = "gemini-2.5-flash", **output: Any) -> dict[str, Any]:
    name = f"batches/{next(_numbers)}"
    details = {"name": name, "model": f"models/{model}", "state": f"BATCH_STATE_{state}"}
    return {"name": name, "metadata": details | ({"output": output} if output else {})}


def inlined(*items: Any) -> dict[str, Any]:
    return {"inlinedResponses": {"inlinedResponses": list(items)}}


def lines(*items: dict[str, Any]) -> bytes:
    """Return a file of results. Each of its lines has a key and a response."""
    made = [{**item.get("metadata", {}), **{k: v for k, v in item.items() if k != "metadata"}} for item in items]
    return b"".join(json.dumps(item).encode() + b"\n" for item in made)


@pytest.fixture(autouse=True)
def _has_batches(gemini: Gemini) -> Iterator[None]:
    if "inlined_responses" not in types.BatchJobDestination.model_fields:
        pytest.skip("this release has none")
    yield


async def fetch(side: Side, body: dict[str, Any]) -> Any:
    return await resolve(side.client.batches.get(name=body["name"]))


def found(items: list[Any], *, results: bool = True) -> list[dict[str, Any]]:
    every = [dict(span.attributes or {}) for span in items]
    return [item for item in every if ("llmtrace.batch.id" in item) is results]


@COLOURS
async def test_each_inlined_result_is_billed_once_at_half_price(side: Side, gemini: Gemini, spans: Any) -> None:
    """The first fetch that sees the end has a span for each result; later ones have none but their own."""
    body = batch(**inlined(*RESULTS))
    running = {**body, "metadata": {**body["metadata"], "state": "BATCH_STATE_RUNNING", "output": {}}}
    gemini.will(running, body)
    for _ in range(3):
        fetched = await fetch(side, body)
    assert [item.response is None for item in fetched.dest.inlined_responses] == [False, True, False]
    made = await exported(spans)
    polls = found(made, results=False)
    assert [poll["gen_ai.response.status"] for poll in polls] == ["in_progress", "completed", "completed"]
    assert not any(name.startswith(("gen_ai.usage.", "llm.cost.")) for poll in polls for name in poll)
    assert "llmtrace.cost.unpriced_reason" not in str(polls)
    items = found(made)
    assert [item["llmtrace.batch.custom_id"] for item in items] == ["a", "b", "c"]
    assert {item["llmtrace.batch.id"] for item in items} == {body["name"]}
    assert {item["gen_ai.operation.name"] for item in items} == {"fetch_response"}
    assert [item["gen_ai.response.status"] for item in items] == ["completed", "failed", "completed"]
    assert [item["llmtrace.outcome"] for item in items] == ["ok", "error", "ok"]
    assert [item.get("error.type") for item in items] == [None, "3", None]
    assert [item["gen_ai.response.id"] for item in items] == ["r_a", f"{body['name']}/1", "r_c"]
    assert [item.get("gen_ai.usage.input_tokens") for item in items] == [1000, None, 1000]
    assert [item.get("llmtrace.cost.exact") for item in items] == [COST, None, COST]
    assert "a secret" not in str(made)
    assert "approximate" not in str(made)


@COLOURS
@pytest.mark.parametrize("to_file", [False, True], ids=["bytes", "path"])
async def test_each_result_in_a_file_is_billed_once(
    side: Side, gemini: Gemini, spans: Any, tmp_path: Path, to_file: bool
) -> None:
    """The results are read when the file is downloaded, be it into memory or to a path. A broken line costs itself."""
    name = f"files/batch-{next(_numbers)}"
    body, data = batch(responsesFile=name), lines(*RESULTS[:2]) + b"{broken\n\n" + lines(RESULTS[2])
    more = {}
    if to_file:
        more = {"destination": str(tmp_path / "results.jsonl")}
        if "destination" not in str(getattr(type(side.full.files).download, "__kwdefaults__", None)):
            pytest.skip("this release has no destination")
    gemini.will(body, data)
    await fetch(side, body)
    with llmtrace.collect() as calls, llmtrace.tag(feature="labels"):
        for _ in range(2):
            downloaded = await resolve(side.client.files.download(file=name, **more))
    assert (Path(more["destination"]).read_bytes() if to_file else downloaded) == data
    assert len(calls) == 3
    assert calls.cost.total == 2 * Decimal(COST)
    items = found(await exported(spans))
    assert [item["llmtrace.batch.custom_id"] for item in items] == ["a", "b", "c"]
    assert {item["llmtrace.batch.id"] for item in items} == {body["name"]}
    assert {item["llmtrace.feature"] for item in items} == {"labels"}
    assert [item.get("llmtrace.cost.exact") for item in items] == [COST, None, COST]


async def test_file_of_an_unknown_batch_is_billed_by_the_models_of_its_results(gemini: Gemini, spans: Any) -> None:
    """Without the batch, the id is the name of the file. Files that hold something else have no spans."""
    side, name = Side(gemini.client(), "sync"), f"files/batch-{next(_numbers)}"
    gemini.will(b"\0\0\0 ftypmp42", b'{"a": 1}\n', lines(result("a"), {"response": {"embedding": {}, "tokenCount": 3}}))
    side.client.files.download(file="files/video")
    side.client.files.download(file="files/other")
    side.client.files.download(file=name)
    priced, unknown = found(await exported(spans))
    assert (priced["llmtrace.batch.id"], priced["llmtrace.cost.exact"]) == (name, COST)
    assert unknown["gen_ai.usage.input_tokens"] == 3
    assert unknown["llmtrace.cost.unpriced_reason"]
    assert "llm.cost.total" not in unknown


@pytest.mark.parametrize("usage", [None, {}, {"promptTokenCount": -5}, {"promptTokenCount": "7"}])
async def test_result_without_usage_has_the_reason_that_it_has_no_cost(gemini: Gemini, spans: Any, usage: Any) -> None:
    """It is unknown, not free. The span of the batch has no reason: its results are billed."""
    side, body = Side(gemini.client(), "sync"), batch(**inlined(result("a", {}), result("b")))
    body["metadata"]["output"]["inlinedResponses"]["inlinedResponses"][0]["response"]["usageMetadata"] = usage
    gemini.will(body)
    side.client.batches._api_client.request("get", body["name"], {})
    every = await exported(spans)
    assert [item.get("llmtrace.cost.unpriced_reason") for item in found(every)] == ["no_usage", None]
    assert [item.get("llmtrace.cost.exact") for item in found(every)] == [None, COST]
    assert "llmtrace.cost.unpriced_reason" not in found(every, results=False)[0]


async def test_embeddings_of_a_batch_are_billed(gemini: Gemini, spans: Any) -> None:
    """Their results name no model: it is that of the batch."""
    side = Side(gemini.client(), "sync")
    body = batch(model="gemini-embedding-001", **inlined(embedding("a"), embedding("b")))
    gemini.will(body)
    await fetch(side, body)
    items = found(await exported(spans))
    assert [item["gen_ai.usage.input_tokens"] for item in items] == [12, 12]
    # The catalog has no price of batches for this model: it is the list price, in doubt.
    price = f"{(12 * Decimal('0.15') / 1_000_000).normalize():f}"
    assert [item["llmtrace.cost.exact"] for item in items] == [price, price]
    assert all(item["llmtrace.cost.approximate"] for item in items)


async def test_results_in_cloud_storage_have_a_span_of_the_batch_only(gemini: Gemini, spans: Any) -> None:
    """The job of Vertex AI reports no tokens, and its results do not pass the SDK."""
    side = Side(gemini.client(vertex=True), "sync")
    name = f"projects/p/locations/l/batchPredictionJobs/{next(_numbers)}"
    output = {"predictionsFormat": "jsonl", "gcsDestination": {"outputUriPrefix": "gs://b/"}}
    gemini.will(
        {"name": name, "model": "publishers/google/models/gemini-2.5-flash", "state": "JOB_STATE_SUCCEEDED",
         "outputConfig": output}
    )  # fmt: skip
    side.client.batches.get(name=name)
    (span,) = await exported(spans)
    assert span.name == "fetch_response"
    assert span.attributes["gen_ai.provider.name"] == "gcp.vertex_ai"
    assert span.attributes["gen_ai.response.status"] == "completed"
    assert span.attributes["gen_ai.response.model"] == "gemini-2.5-flash"
    assert "llm.cost.total" not in span.attributes


async def test_long_prompts_are_priced_one_by_one(gemini: Gemini, spans: Any) -> None:
    """The threshold of a long context applies to each request, not to the sum of a batch."""
    side = Side(gemini.client(), "sync")
    usages = [{"promptTokenCount": tokens, "candidatesTokenCount": 10} for tokens in (150_000, 250_000)]
    body = batch(**inlined(*[result(str(i), usage, modelVersion="gemini-2.5-pro") for i, usage in enumerate(usages)]))
    gemini.will(body)
    await fetch(side, body)
    costs = [Decimal(item["llmtrace.cost.exact"]) for item in found(await exported(spans))]
    million = 1_000_000
    assert costs == [
        (150_000 * Decimal("0.625") + 10 * Decimal(5)) / million,
        (250_000 * Decimal("1.25") + 10 * Decimal("7.5")) / million,
    ]


async def test_budgets_count_results_and_do_not_withhold_them(gemini: Gemini, spans: Any) -> None:
    """A blocking budget settles what the results cost, because the money is spent."""
    side = Side(gemini.client(), "sync")
    budget = llmtrace.budget("gemini-batches", usd="0.001", per="total", action="block")
    try:
        body = batch(**inlined(*RESULTS))
        gemini.will(body)
        assert len((await fetch(side, body)).dest.inlined_responses) == 3
        await fetch(side, body)
        with pytest.raises(llmtrace.BudgetExceeded, match=r"0\.00105"):
            await side.ask()
    finally:
        budget.remove()


async def test_content_of_results_is_recorded_only_with_content_on(gemini: Gemini, content_spans: Any) -> None:
    """The messages are those of the results."""
    side, body = Side(gemini.client(), "sync"), batch(**inlined(*RESULTS))
    gemini.will(body)
    await fetch(side, body)
    messages = [item.get("gen_ai.output.messages") for item in found(await exported(content_spans))]
    assert [message is not None for message in messages] == [True, False, True]
    assert "a secret" in messages[0]


async def test_known_files_are_bounded(gemini: Gemini, spans: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that fetches batches for ever keeps the newest files only."""
    monkeypatch.setattr(our_batches, "_MAX_FILES", 1)
    side, names = Side(gemini.client(), "sync"), [f"files/batch-{next(_numbers)}" for _ in range(2)]
    bodies = [batch(responsesFile=name) for name in names]
    gemini.will(*bodies, lines(result("a")), lines(result("b")))
    for body in bodies:
        await fetch(side, body)
    for name in names:
        side.client.files.download(file=name)
    assert [item["llmtrace.batch.id"] for item in found(await exported(spans))] == [names[0], bodies[1]["name"]]


@pytest.fixture
def busy_worker() -> Iterator[Callable[[], None]]:
    """Keep the worker thread busy until the function is called."""
    resume = Event()
    worker.start()
    worker.submit(resume.wait)
    yield resume.set
    resume.set()


@COLOURS
async def test_many_results_do_not_hold_up_the_caller(
    side: Side, gemini: Gemini, spans: Any, busy_worker: Callable[[], None]
) -> None:
    """The worker thread records them: once each, with the tags of the fetch that was first."""
    body = batch(**inlined(*(result(str(number)) for number in range(150))))
    gemini.will(body)
    with llmtrace.collect() as calls, llmtrace.tag(feature="labels"):
        await fetch(side, body)
    await fetch(side, body)
    assert found(InMemorySpanExporter.get_finished_spans(spans)) == []  # without waiting for the worker
    busy_worker()
    assert len(calls) == 151
    assert calls.cost.total == 150 * Decimal(COST)
    items = found(await exported(spans))
    assert [item["llmtrace.batch.custom_id"] for item in items] == [str(number) for number in range(150)]
    assert {item["llmtrace.feature"] for item in items} == {"labels"}


def needs_destination(side: Side) -> None:
    if "destination" not in str(getattr(type(side.full.files).download, "__kwdefaults__", None)):
        pytest.skip("this release has no destination")


def download_to(side: Side, name: str, path: Path) -> None:
    side.client.files.download(file=name, destination=str(path))


@pytest.mark.parametrize("copied", [True, False])
async def test_second_file_at_the_same_path_is_not_read_as_the_first(
    gemini: Gemini,
    spans: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    busy_worker: Callable[[], None],
    copied: bool,
) -> None:
    """The first file is copied before the caller goes on. A very large one is not, and then has no results."""
    if not copied:
        monkeypatch.setattr(our_batches, "_MAX_COPIED_BYTES", 1)
    side, path = Side(gemini.client(), "sync"), tmp_path / "results.jsonl"
    needs_destination(side)
    names = [f"files/batch-{next(_numbers)}" for _ in range(2)]
    gemini.will(lines(result("a")), lines(result("b"), result("c")))
    for name in names:
        download_to(side, name, path)
    busy_worker()
    items = [(item["llmtrace.batch.id"], item["llmtrace.batch.custom_id"]) for item in found(await exported(spans))]
    assert items == ([(names[0], "a")] if copied else []) + [(names[1], "b"), (names[1], "c")]
    assert any("was changed" in message for message in logged_warnings()) is not copied


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipe_that_receives_a_file_is_left_alone(gemini: Gemini, spans: Any, tmp_path: Path) -> None:
    """To read it would block, or take what the other end is to read."""
    side, path, data = Side(gemini.client(), "sync"), tmp_path / "pipe", lines(result("a"))
    needs_destination(side)
    os.mkfifo(path)
    received: list[bytes] = []
    reader = Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    reader.start()
    gemini.will(data)
    downloading = Thread(target=download_to, args=(side, f"files/batch-{next(_numbers)}", path), daemon=True)
    downloading.start()
    for thread in (downloading, reader):
        thread.join(10)
        assert not thread.is_alive()
    assert received == [data]
