"""Searches of vector stores have spans with their documents, which reach the calls after them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import openai
import pytest
from agent_server import database, only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import llmtrace

pytestmark = [pytest.mark.usefixtures("agent_server"), pytest.mark.filterwarnings("ignore")]


def answer() -> None:
    messages: Any = [{"role": "user", "content": "weather?"}]
    openai.OpenAI().chat.completions.create(model="gpt-4o-mini", messages=messages)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_search_of_qdrant_is_recorded(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """A search of Qdrant has the collection, ids and scores."""
    qdrant = pytest.importorskip("qdrant_client")
    models = pytest.importorskip("qdrant_client.models")
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    points = [models.PointStruct(id=number, vector=[0.1, number], payload={"city": "Paris"}) for number in (1, 2)]
    with llmtrace.workflow("ask"):
        if asynchronous:
            client = qdrant.AsyncQdrantClient(":memory:")
            await client.create_collection("atlas", vectors)
            await client.upsert("atlas", points)
            await client.query_points("atlas", [0.0, 1.0], limit=2)
        else:
            client = qdrant.QdrantClient(":memory:")
            client.create_collection("atlas", vectors)
            client.upsert("atlas", points)
            client.query_points(collection_name="atlas", query=[0.0, 1.0], limit=2)
        answer()
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow ask", "  retrieval", "  chat gpt-4o-mini"]
    search = only(finished, "retrieval").attributes or {}
    assert search["gen_ai.data_source.id"] == "atlas"
    assert database(search) == {"system.name": "qdrant", "operation.name": "query_points", "collection.name": "atlas"}
    assert search["gen_ai.retrieval.top_k"] == 2
    assert search["llmtrace.retrieval.document_ids"] == ("2", "1")
    assert '"score":2' in str(search["gen_ai.retrieval.documents"]).replace(" ", "")
    assert "Paris" not in str(search)
    assert (only(finished, "chat gpt-4o-mini").attributes or {})["llmtrace.retrieval.document_ids"] == ("2", "1")


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_batch_of_qdrant_is_one_search(spans: InMemorySpanExporter, asynchronous: bool) -> None:
    """A batch of queries has one span with the documents of all."""
    qdrant = pytest.importorskip("qdrant_client")
    models = pytest.importorskip("qdrant_client.models")
    vectors = models.VectorParams(size=2, distance=models.Distance.DOT)
    points = [models.PointStruct(id=1, vector=[1.0, 0.0]), models.PointStruct(id=2, vector=[0.0, 1.0])]
    batch = [models.QueryRequest(query=query, limit=1) for query in ([0.0, 1.0], [1.0, 0.0])]
    if asynchronous:
        client = qdrant.AsyncQdrantClient(":memory:")
        await client.create_collection("atlas", vectors)
        await client.upsert("atlas", points)
        responses = await client.query_batch_points("atlas", batch)
    else:
        client = qdrant.QdrantClient(":memory:")
        client.create_collection("atlas", vectors)
        client.upsert("atlas", points)
        responses = client.query_batch_points(collection_name="atlas", requests=batch)
    assert [response.points[0].id for response in responses] == [2, 1]
    search = only(spans.get_finished_spans(), "retrieval").attributes or {}
    assert (search["gen_ai.data_source.id"], search["llmtrace.retrieval.document_ids"]) == ("atlas", ("2", "1"))


def test_search_inside_a_retriever_is_part_of_it(spans: InMemorySpanExporter) -> None:
    """A store that a retriever searches has no second span."""
    qdrant = pytest.importorskip("qdrant_client")
    models = pytest.importorskip("qdrant_client.models")
    client = qdrant.QdrantClient(":memory:")
    client.create_collection("atlas", models.VectorParams(size=2, distance=models.Distance.DOT))
    with llmtrace.retrieval("retriever") as search:
        client.query_points("atlas", [0.0, 1.0])
        search.add(["a"])
    with pytest.raises(ValueError, match="missing"):
        client.query_points("missing", [0.0, 1.0])
    finished = spans.get_finished_spans()
    assert [(span.attributes or {})["gen_ai.data_source.id"] for span in finished] == ["retriever", "missing"]
    assert finished[1].status.status_code is StatusCode.ERROR


@pytest.mark.parametrize("adds", [None, [], ["2"]])
def test_block_that_adds_no_documents_has_those_of_the_store(spans: InMemorySpanExporter, adds: Any) -> None:
    """A block around a search has the documents of the store, unless it adds documents or an empty list."""
    qdrant = pytest.importorskip("qdrant_client")
    models = pytest.importorskip("qdrant_client.models")
    client = qdrant.QdrantClient(":memory:")
    client.create_collection("atlas", models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert("atlas", [models.PointStruct(id=number, vector=[0.1, number]) for number in (1, 2)])
    with llmtrace.workflow("ask"):
        with llmtrace.retrieval("block") as search:
            client.query_points("atlas", [0.0, 1.0])
            if adds is not None:
                search.add(adds)
        answer()
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow ask", "  retrieval", "  chat gpt-4o-mini"]
    expected = {None: ("2", "1"), 0: None, 1: ("2",)}[None if adds is None else len(adds)]
    for name in ("retrieval", "chat gpt-4o-mini"):
        assert (only(finished, name).attributes or {}).get("llmtrace.retrieval.document_ids") == expected


def test_search_of_chroma_is_recorded(spans: InMemorySpanExporter) -> None:
    """A search of Chroma has the collection and the ids; the documents of several queries are one list."""
    chromadb = pytest.importorskip("chromadb")
    collection = chromadb.EphemeralClient().create_collection("atlas", embedding_function=None)
    collection.add(ids=["a", "b"], embeddings=[[0.1, 1.0], [0.1, 2.0]], documents=["Rain in Paris.", "Sun."])
    with llmtrace.workflow("ask"):
        collection.query(query_embeddings=[[0.1, 2.0]], n_results=1)
        answer()
    finished = spans.get_finished_spans()
    search = only(finished, "retrieval").attributes or {}
    assert search["gen_ai.data_source.id"] == "atlas"
    expected = {"system.name": "chroma", "operation.name": "query", "collection.name": "atlas"}
    assert database(search) == {**expected, "namespace": "default_database"}
    assert search["llmtrace.retrieval.document_ids"] == ("b",)
    assert (only(finished, "chat gpt-4o-mini").attributes or {})["llmtrace.retrieval.document_ids"] == ("b",)


def test_queries_of_chroma_are_one_search(content_spans: InMemorySpanExporter) -> None:
    """Several queries have one span, with the documents of all and the texts of the queries."""
    chromadb = pytest.importorskip("chromadb")

    class Embed(chromadb.EmbeddingFunction):  # type: ignore[misc, name-defined] # not installed where mypy runs
        def __init__(self) -> None: ...

        def __call__(self, input: list[str]) -> list[list[float]]:
            return [[1.0, 0.0] if "rain" in text.lower() else [0.0, 1.0] for text in input]

    collection = chromadb.EphemeralClient().create_collection("batch", embedding_function=Embed())
    collection.add(ids=["a", "b"], documents=["Rain in Paris.", "Sun."])
    collection.query(query_texts=["sunny?", "rainy?"], n_results=1)
    search = only(content_spans.get_finished_spans(), "retrieval").attributes or {}
    assert search["gen_ai.retrieval.query.text"] == "sunny?\nrainy?"
    assert search["llmtrace.retrieval.document_ids"] == ("b", "a")
    assert "Rain in Paris." in str(search["gen_ai.retrieval.documents"])


@pytest.mark.parametrize("store", ["chroma", "elasticsearch", "lancedb", "milvus", "opensearch", "qdrant", "weaviate"])
def test_unknown_release_of_a_store_is_not_hooked(store: str) -> None:
    """A release without the methods of a bridge has no hooks, and those that it lacks are reported."""
    patches = import_module(f"llmtrace.integrations.{store}").install(ModuleType("unknown"))
    patches.undo()
    assert patches.missing


ROWS = [{"id": row, "text": f"Rain {row} in Paris.", "vector": [0.1, float(row)]} for row in (1, 2, 3)]


def test_searches_of_lancedb_are_recorded(spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """A search for vectors, for text, or for both has one span each; a scan has none."""
    table = pytest.importorskip("lancedb").connect(tmp_path).create_table("atlas", ROWS)
    table.create_fts_index("text")
    with llmtrace.workflow("ask"):
        assert len(table.search([0.1, 2.0]).limit(2).to_list()) == 2
        table.search("Paris", query_type="fts").limit(1).to_list()
        table.search(query_type="hybrid").vector([0.1, 2.0]).text("Paris").limit(1).to_arrow()
        assert len(table.search().to_list()) == 3
        answer()
    finished = spans.get_finished_spans()
    assert tree(finished) == ["invoke_workflow ask", *["  retrieval"] * 3, "  chat gpt-4o-mini"]
    vector, text, both = [span.attributes or {} for span in finished[:3]]
    assert (vector["gen_ai.data_source.id"], vector["gen_ai.retrieval.top_k"]) == ("atlas", 2)
    assert set(vector["llmtrace.retrieval.document_ids"]) == {"1", "2"}  # type: ignore[arg-type] # a sequence
    assert database(vector) == {"system.name": "lancedb", "operation.name": "search", "collection.name": "atlas"}
    assert all('"score":0.' in str(each["gen_ai.retrieval.documents"]) for each in (text, both))
    assert not any("Rain" in str(each) for each in (vector, text, both))


async def test_searches_of_lancedb_are_recorded_in_tasks(content_spans: InMemorySpanExporter, tmp_path: Path) -> None:
    """The asynchronous interface is traced likewise, and texts are recorded if content is."""
    connection = await pytest.importorskip("lancedb").connect_async(tmp_path)
    table = await connection.create_table("atlas", ROWS)
    await table.create_index("text", config=pytest.importorskip("lancedb.index").FTS())
    await (await table.search([0.1, 2.0])).limit(1).to_list()
    await table.query().nearest_to([0.1, 3.0]).nearest_to_text("Paris").limit(1).to_list()
    await table.query().to_list()
    finished = content_spans.get_finished_spans()
    assert [span.name for span in finished] == ["retrieval"] * 2
    assert "Rain 2 in Paris." in str((finished[0].attributes or {})["gen_ai.retrieval.documents"])


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_search_of_milvus_is_recorded(
    content_spans: InMemorySpanExporter, tmp_path: Path, asynchronous: bool
) -> None:
    """A search of Milvus has the collection and ids; its results are left as they are."""
    pymilvus = pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    client: Any = pymilvus.MilvusClient(str(tmp_path / "atlas.db"))
    client.create_collection("atlas", dimension=2)
    client.insert("atlas", ROWS)
    arguments: dict[str, Any] = {"data": [[0.1, 2.0]], "limit": 2, "output_fields": ["text"]}
    if asynchronous:
        found = await pymilvus.AsyncMilvusClient(str(tmp_path / "atlas.db")).search("atlas", **arguments)
    else:
        found = client.search("atlas", **arguments)
        with pytest.raises(pymilvus.MilvusException):
            client.search("missing", **arguments)
    assert [hit["id"] for hit in found[0]] == [2, 3]
    first, *errors = content_spans.get_finished_spans()
    search = first.attributes or {}
    assert (search["gen_ai.data_source.id"], search["gen_ai.retrieval.top_k"]) == ("atlas", 2)
    assert search["llmtrace.retrieval.document_ids"] == ("2", "3")
    assert database(search) == {"system.name": "milvus", "operation.name": "search", "collection.name": "atlas"}
    assert '"score":1.0' in str(search["gen_ai.retrieval.documents"])
    assert [span.status.status_code for span in errors] == ([] if asynchronous else [StatusCode.ERROR])
