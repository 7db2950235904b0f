"""Searches of vector stores have spans with their documents, which reach the calls after them."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from agent_server import only, tree
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

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
    assert search["gen_ai.retrieval.top_k"] == 2
    assert search["llmtrace.retrieval.document_ids"] == ("2", "1")
    assert '"score":2' in str(search["gen_ai.retrieval.documents"]).replace(" ", "")
    assert "Paris" not in str(search)
    assert (only(finished, "chat gpt-4o-mini").attributes or {})["llmtrace.retrieval.document_ids"] == ("2", "1")


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
    assert search["llmtrace.retrieval.document_ids"] == ("b",)
    assert (only(finished, "chat gpt-4o-mini").attributes or {})["llmtrace.retrieval.document_ids"] == ("b",)
