"""Searches and rerankings: their spans, and the documents that later calls name."""

from __future__ import annotations

import asyncio
import contextvars
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any
from uuid import UUID

import openai
import pytest
from loopback_vendor import Vendor, by_name, only
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, use_span

import llmtrace
from llmtrace import Document, agent, current, rerank, retrieval, tag, tool, workflow, wrap
from llmtrace.context.retrieval import read_documents


def ids() -> list[str]:
    return [document.id for document in current().documents]


def search(*found: str, source: str = "index") -> None:
    with retrieval(source) as r:
        r.add([(name, 0.5) for name in found])


@dataclass
class Foreign:
    page_content: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id: str | None = None


@Integral.register
class Numpy:
    """As ``numpy.int64`` is: a number, and no ``int``."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __int__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return float(self.value)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (Document("a", 0.5, "text", {"k": 1}), Document("a", 0.5, "text", {"k": 1})),
        ({"id": 7, "score": "x", "text": "t", "vector": [0.1] * 9}, Document("7", None, "t")),
        ({"id": "a", "content": "c", "metadata": {"k": 1, "embedding": [1.0]}}, Document("a", None, "c", {"k": 1})),
        (("a", 0.25), Document("a", 0.25)),
        ((Document("a"), 0.25), Document("a", 0.25)),
        ((Foreign("text", {"k": 1}, "a"), 1), Document("a", 1.0, "text", {"k": 1})),
        (Foreign("text"), Document("sha256:982d9e3eb996", None, "text")),
        (UUID(int=1), Document("00000000-0000-0000-0000-000000000001")),
        (("a", float("nan")), Document("a")),
        ((Numpy(7), Numpy(1)), Document("7", 1.0)),
        ({"id": Numpy(7)}, Document("7")),
        ({"id": "a", "score": 10**400}, Document("a")),
        ({"id": "a", "score": [1]}, Document("a")),
        (Document(7, float("nan"), b"x", None), Document("7")),  # type: ignore[arg-type]
        (Document("a", 1, "t", {"vector": [0.1]}), Document("a", 1.0, "t")),
    ],
)
def test_documents_of_every_type_are_read(value: Any, read: Document) -> None:
    """Documents, mappings, pairs and foreign objects are read; vectors are not kept."""
    assert list(read_documents([value])) == [read]


@pytest.mark.parametrize(
    ("value", "found"), [(None, []), ("doc-1", ["doc-1"]), (7, ["7"]), (UUID(int=1), [str(UUID(int=1))])]
)
def test_single_id_and_none_are_read(value: Any, found: list[str]) -> None:
    """A single id is one document, not its letters; ``None`` is an empty result."""
    with retrieval("index") as r:
        r.add(value)
        assert ids() == found


@pytest.mark.parametrize("value", [object(), [None], [object()], [{}], [{"id": None}], [3.5], [[]], [True]])
def test_invalid_documents_are_dropped_with_a_warning(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Anything else is dropped with a warning, and nothing is raised."""
    with retrieval("index") as r:
        r.add(value)
        r.add(["fine"])
        assert ids() == ["fine"]
    assert "is not a valid document" in caplog.text


def test_later_calls_name_the_documents_of_a_search(spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """Ids and scores are on the search, ids on the call after it; query and texts are not recorded with content off."""
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client, tag(session="s"):
        with retrieval("manuals", query="marker?", top_k=3) as r:
            r.add([Document("a", 0.9, "marker", {"k": "marker"}), Document("b")])
        client.chat.completions.create(model="m", messages=[])
    (span,) = by_name(spans, "retrieval")
    assert (span.name, span.kind) == ("retrieval", SpanKind.INTERNAL)
    bridged = ("openinference.", "output.")
    assert {name: value for name, value in span.attributes.items() if not name.startswith(bridged)} == {
        "gen_ai.operation.name": "retrieval",
        "gen_ai.data_source.id": "manuals",
        "gen_ai.retrieval.top_k": 3,
        "session.id": "s",
        "llmtrace.outcome": "ok",
        "llmtrace.retrieval.document_ids": ("a", "b"),
        "gen_ai.retrieval.documents": '[{"id":"a","score":0.9},{"id":"b"}]',
        "retrieval.documents.0.document.id": "a",
        "retrieval.documents.0.document.score": 0.9,
        "retrieval.documents.1.document.id": "b",
    }
    chat = only(spans, "chat")
    assert chat["llmtrace.retrieval.document_ids"] == ("a", "b")
    assert "marker" not in str(chat)
    assert not any(name.startswith("retrieval.documents") for name in chat)


def test_document_texts_pass_the_content_policy(open_spans: InMemorySpanExporter, vendor: Vendor) -> None:
    """Query, text and metadata are redacted on the search and on the call."""
    with openai.OpenAI(base_url=vendor.url, api_key="x") as client, tag(session="s"):
        with retrieval("manuals", query="secret?") as r:
            r.add([Document("a", 0.9, "a secret", {"k": "secret"})])
        client.chat.completions.create(model="m", messages=[])
    attributes = only(open_spans, "retrieval")
    assert attributes["gen_ai.retrieval.query.text"] == "****?"
    assert json.loads(attributes["gen_ai.retrieval.documents"])[0]["content"] == "a ****"
    chat = only(open_spans, "chat")
    assert chat["retrieval.documents.0.document.content"] == "a ****"
    assert json.loads(chat["retrieval.documents.0.document.metadata"]) == {"k": "****"}
    assert "secret" not in str(attributes) + str(chat)


def test_documents_reach_the_enclosing_block_and_later_calls() -> None:
    """Retrieved documents reach the enclosing block and the calls after it, and no sibling block."""
    with tag(feature="outer"):
        assert ids() == []
        with tag(user="first"):
            search("a")
            assert ids() == ["a"]
        assert ids() == ["a"]
        with workflow("second"):
            assert ids() == ["a"]
            tool("find")(search)("b")
            assert ids() == ["a", "b"]
    assert ids() == []


async def test_documents_of_parallel_paths_do_not_mix() -> None:
    """In one block with many tasks and threads, each names only its own documents; the block's own line sees all."""

    async def answer(number: int, wait: asyncio.Event) -> list[str]:
        search(f"d{number}")
        await wait.wait()
        return ids()

    def threaded(number: int) -> list[str]:
        search(f"t{number}")
        return ids()

    wait = asyncio.Event()
    with tag(feature="batch"):
        search("common")
        tasks = [asyncio.create_task(answer(number, wait)) for number in range(20)]
        await asyncio.sleep(0)
        wait.set()
        assert await asyncio.gather(*tasks) == [["common", f"d{number}"] for number in range(20)]
        threads = [await asyncio.to_thread(threaded, number) for number in range(5)]
        wrapped = [wrap(threaded)(9)]
        assert [found[-1] for found in threads + wrapped] == ["t0", "t1", "t2", "t3", "t4", "t9"]
        assert len(ids()) == 1 + 20 + 5 + 1


async def find_in_a_task() -> None:
    await asyncio.create_task(asyncio.to_thread(search, "a"))


def find_in_a_thread() -> None:
    thread = threading.Thread(target=contextvars.copy_context().run, args=(search, "a"))
    thread.start()
    thread.join()


def find_in_a_pool() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(contextvars.copy_context().run, tool("find")(search), "a").result()
        pool.submit(int).result()


async def ids_elsewhere(how: str) -> list[str]:
    if how == "task":
        return await asyncio.create_task(asyncio.to_thread(ids))
    if how == "copy":
        return contextvars.copy_context().run(ids)
    return await asyncio.to_thread(ids)


@pytest.mark.parametrize("block", [agent, workflow])
@pytest.mark.parametrize("find", [find_in_a_task, find_in_a_thread, find_in_a_pool])
@pytest.mark.parametrize("how", ["task", "thread", "copy"])
async def test_documents_of_a_tool_reach_later_calls_of_its_agent(block: Any, find: Any, how: str) -> None:
    """Documents of a path that has returned are visible to calls made in paths of their own."""
    with block("a"):
        found = find()
        if found is not None:
            await found
        assert await ids_elsewhere(how) == ["a"]
        with tag(feature="inner"):
            assert await ids_elsewhere(how) == ["a"]
    assert await ids_elsewhere(how) == []


async def test_documents_of_a_running_tool_reach_no_other_path() -> None:
    """A tool that has not returned shows nothing to parallel paths, and all of it once it has."""
    found, go_on = asyncio.Event(), asyncio.Event()

    async def find() -> None:
        search("a")
        found.set()
        await go_on.wait()

    with agent("a"):
        task = asyncio.create_task(tool("find")(find)())
        await found.wait()
        assert await ids_elsewhere("task") == []
        go_on.set()
        await task
        assert await ids_elsewhere("task") == ["a"]


async def test_search_in_another_task_or_thread_reaches_its_block() -> None:
    """A search in a thread or a task of its own is visible to the block that awaited it."""
    with tag(feature="f"):
        await asyncio.to_thread(search, "a")
        await asyncio.gather(asyncio.to_thread(search, "b"), asyncio.create_task(asyncio.to_thread(search, "c")))
        assert sorted(ids()) == ["a", "b", "c"]


def test_documents_outside_a_block_belong_to_the_trace() -> None:
    """In a span of the application, later calls of that trace name the documents, and no other trace does."""
    tracer = TracerProvider().get_tracer("application")
    with tracer.start_as_current_span("request"):
        with tracer.start_as_current_span("find"):
            search("a")
        assert ids() == ["a"]
        with tag(feature="late"):
            assert ids() == ["a"]
    assert ids() == []
    with tracer.start_as_current_span("another"):
        assert ids() == []


def test_long_lived_block_does_not_mix_traces() -> None:
    """A worker stays in one block for all jobs: a job's calls do not name the documents of the job before."""
    tracer = TracerProvider().get_tracer("application")
    with tag(feature="worker"):
        for job in ("a", "b"):
            with tracer.start_as_current_span("job"):
                search(job)
                assert ids() == [job]


def test_number_of_kept_documents_is_bounded() -> None:
    """An endless search names the last thousand documents; only the latest traces outside every block are kept."""
    with tag(feature="f"):
        with retrieval("index") as r:
            for number in range(1010):
                r.add([str(number)])
        assert ids() == [str(number) for number in range(10, 1010)]
    tracer = TracerProvider().get_tracer("application")
    jobs = [tracer.start_span(str(number)) for number in range(130)]
    for job in jobs:
        with use_span(job):
            search(job.name)
    known = []
    for job in jobs:
        with use_span(job):
            known += ids()
    assert known == [str(number) for number in range(2, 130)]


class _Breaking:
    """A search whose connection is lost."""

    def __iter__(self) -> Iterator[str]:
        yield "a"
        raise ConnectionError("broken")


@pytest.mark.faulty
def test_documents_that_cannot_be_read_are_dropped() -> None:
    """The block goes on with the documents added later."""
    with llmtrace.instrument(tracer_provider=TracerProvider()), rerank("m") as r:
        r.set_input_documents(_Breaking())
        r.add(_Breaking())
        r.add(["b"])
        assert ids() == ["b"]


def test_documents_of_a_reranker_replace_earlier_ones(open_spans: InMemorySpanExporter) -> None:
    """Later calls name the kept documents; the span has the ranked and the kept ones."""
    with tag(feature="f"):
        search("a", "b", "c")
        with rerank("cross-encoder", query="secret", top_k=2) as r:
            r.set_input_documents(["a", "b", "c"])
            r.add([("c", 0.9), ("a", 0.4)])
        assert ids() == ["c", "a"]
        search("d")
        assert ids() == ["c", "a", "d"]
    attributes = only(open_spans, "rerank")
    assert attributes["gen_ai.request.model"] == attributes["reranker.model_name"] == "cross-encoder"
    assert (attributes["reranker.query"], attributes["reranker.top_k"]) == ("****", 2)
    assert attributes["reranker.input_documents.2.document.id"] == "c"
    assert attributes["reranker.output_documents.0.document.score"] == 0.9


def test_decorated_search_records_the_returned_documents(spans: InMemorySpanExporter) -> None:
    """A returned list of documents is recorded; any other return value passes unread."""

    @retrieval("index")
    def find(answer: Any) -> Any:
        return answer

    with tag(feature="f"):
        hits = [("a", 0.5)]
        assert find(hits) is hits
        assert find("text") == "text"
        assert ids() == ["a"]
    assert not trace.get_current_span().is_recording()
