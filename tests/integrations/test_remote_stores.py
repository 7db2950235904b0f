"""Searches of vector stores on a server have spans with their documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent import futures
from http.server import ThreadingHTTPServer
from inspect import isawaitable
from typing import Any

import pytest
from agent_server import database, only
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

import llmtrace
from serving import QuietHandler, serving

HITS = {"hits": {"hits": [{"_id": "a", "_score": 0.5, "_source": {"text": "Rain in Paris."}}]}}
MATCHES = {"matches": [{"id": "a", "score": 0.5, "metadata": {"text": "Rain in Paris."}}], "namespace": "n"}
RECORDS = {"_id": "a", "_score": 0.5, "fields": {"chunk_text": "Rain in Paris."}}
RESPONSES = {
    "/_search": HITS,
    "/query": {**MATCHES, "usage": {"readUnits": 1}},
    "/records/namespaces/n/search": {"result": {"hits": [RECORDS]}, "usage": {"read_units": 1}},
    "/v1/meta": {"version": "1.30.0"},
    "/documents/search": {
        "matches": [{"_id": "a", "_score": 0.5, "text": "Rain in Paris."}],
        "namespace": "n",
        "usage": {"read_units": 1},
    },
}


class _Handler(QuietHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        path = self.path.partition("?")[0]
        response = next((body for end, body in RESPONSES.items() if path.endswith(end)), {})
        body = json.dumps(response).encode()
        self.send_response(404 if "missing" in path else 200)
        self.send_header("content-type", "application/json")
        self.send_header("x-elastic-product", "Elasticsearch")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The address of a server that answers each search with one document."""
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), _Handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def searches(spans: InMemorySpanExporter, system: str, port: Any) -> list[Any]:
    """Return the attributes of the searches, and check that each has the document, the database and its server."""
    finished = [span.attributes or {} for span in spans.get_finished_spans() if span.name == "retrieval"]
    for search in finished:
        assert search["llmtrace.retrieval.document_ids"] == ("a",)
        assert '"score":0.5' in str(search["gen_ai.retrieval.documents"]).replace(" ", "")
        assert database(search)["system.name"] == system
        assert database(search)["collection.name"] == search["gen_ai.data_source.id"]
        assert (search["server.address"], str(search["server.port"])) == ("127.0.0.1", str(port).rpartition(":")[2])
    return finished


KNN = {"field": "vector", "query_vector": [0.1, 0.2], "k": 5}
BODIES: list[tuple[dict[str, Any], str | None]] = [
    ({"knn": KNN, "size": 5}, None),
    ({"query": {"bool": {"must": [{"semantic": {"field": "text", "query": "rain?"}}]}}}, "rain?"),
    ({"query": {"neural": {"vector": {"query_text": "rain?", "k": 5}}}}, "rain?"),
    ({"query": {"text_expansion": {"tokens": {"model_id": "elser", "model_text": "rain?"}}}}, "rain?"),
    ({"query": {"sparse_vector": {"field": "tokens", "inference_id": "elser", "query": "rain?"}}}, "rain?"),
    ({"retriever": {"rrf": {"retrievers": [{"knn": KNN}, {"standard": {"query": {"match": {"text": "x"}}}}]}}}, None),
    (
        {"query": {"hybrid": {"queries": [{"match": {"text": "x"}}, {"knn": {"vector": {"vector": [1], "k": 2}}}]}}},
        None,
    ),
]
OTHERS = [
    {"query": {"match": {"knn": "neural"}}},
    {"query": {"match_all": {}}, "aggs": {"knn": {"terms": {"field": "a"}}}},
]


def test_searches_of_elasticsearch_are_recorded(content_spans: InMemorySpanExporter, url: str) -> None:
    """Searches for vectors or by a model have a span; searches for words and other requests have none."""
    elasticsearch = pytest.importorskip("elasticsearch")
    with elasticsearch.Elasticsearch(url) as client:
        for body, _ in BODIES:
            assert client.search(index="atlas", **body)["hits"] == HITS["hits"]
        for body in OTHERS:
            client.search(index="atlas", **body)
        client.index(index="atlas", document={"knn": 1})
    found = searches(content_spans, "elasticsearch", url)
    assert [search.get("gen_ai.retrieval.query.text") for search in found] == [text for _, text in BODIES]
    assert {search["gen_ai.data_source.id"] for search in found} == {"atlas"}
    assert {database(search)["operation.name"] for search in found} == {"search"}
    assert found[0]["gen_ai.retrieval.top_k"] == 5
    assert "Rain in Paris." in found[0]["gen_ai.retrieval.documents"]


async def test_failed_search_of_elasticsearch_is_an_error(spans: InMemorySpanExporter, url: str) -> None:
    """The exception of a failed search reaches the caller and its span; tasks are traced likewise."""
    elasticsearch = pytest.importorskip("elasticsearch")
    with elasticsearch.Elasticsearch(url) as client, pytest.raises(elasticsearch.NotFoundError):
        client.search(index="missing", knn=KNN)
    assert only(spans.get_finished_spans(), "retrieval").status.status_code is StatusCode.ERROR
    spans.clear()
    pytest.importorskip("aiohttp")
    async with elasticsearch.AsyncElasticsearch(url) as tasks:
        await tasks.search(index="atlas", knn=KNN)
    (search,) = searches(spans, "elasticsearch", url)
    assert "Rain" not in str(search)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_searches_of_opensearch_are_recorded(
    content_spans: InMemorySpanExporter, url: str, asynchronous: bool
) -> None:
    """Searches for vectors or by a model have a span; searches for words and other requests have none."""
    opensearch = pytest.importorskip("opensearchpy")
    bodies = [*(body for body, _ in BODIES), *OTHERS]
    if asynchronous:
        pytest.importorskip("aiohttp")
        async with opensearch.AsyncOpenSearch(url) as client:
            assert [await client.search(index="atlas", body=body) for body in bodies] == [HITS] * len(bodies)
    else:
        with opensearch.OpenSearch(url) as client:
            assert [client.search(index="atlas", body=body) for body in bodies] == [HITS] * len(bodies)
    found = searches(content_spans, "opensearch", url)
    assert [search.get("gen_ai.retrieval.query.text") for search in found] == [text for _, text in BODIES]
    assert {search["gen_ai.data_source.id"] for search in found} == {"atlas"}


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_searches_of_pinecone_are_recorded(spans: InMemorySpanExporter, url: str, asynchronous: bool) -> None:
    """Each search has one span, also one of several namespaces, which the client searches in threads."""
    pinecone = pytest.importorskip("pinecone")
    vector = [0.1, 0.2]
    several = {"vector": vector, "namespaces": ["n", "m"], "metric": "cosine", "top_k": 1}
    documents: dict[str, Any] = {"score_by": [{"type": "text", "query": "rain?", "fields": ["text"]}], "top_k": 2}
    if asynchronous:
        async with pinecone.AsyncIndex(host=url, api_key="k") as index:
            await index.query(top_k=2, vector=vector, namespace="n")
            await index.search(namespace="n", top_k=2, inputs={"text": "rain?"})
            await index.query_namespaces(**several)
            if hasattr(index, "documents"):  # since 10
                await index.documents.search(namespace="n", **documents)
    else:
        with pinecone.Index(host=url, api_key="k") as index:
            assert index.query(top_k=2, vector=vector, namespace="n").matches[0].id == "a"
            index.search_records(namespace="n", top_k=2, inputs={"text": "rain?"})
            index.query_namespaces(**several)
            if hasattr(index, "documents"):
                index.documents.search(namespace="n", **documents)
    __import__("pinecone.grpc")  # its hooks are the same
    assert llmtrace.instrument().skipped == {}
    found = searches(spans, "pinecone", url)
    names = ["query", "search", "query_namespaces", "search"][: len(found)]
    assert [database(search)["operation.name"] for search in found] == names
    assert [search["gen_ai.retrieval.top_k"] for search in found] == [2, 2, 1, 2][: len(found)]
    assert len(found) == 3 + hasattr(pinecone.Index, "documents")
    assert {search["gen_ai.data_source.id"] for search in found} == {"127.0.0.1"}


@pytest.fixture
def weaviate_port() -> Iterator[int]:
    """The port of a gRPC server that answers each search with one object."""
    grpc = pytest.importorskip("grpc")
    messages = pytest.importorskip("weaviate.connect.v4").search_get_pb2

    def reply(request: Any, context: Any) -> Any:
        if request.collection == "Missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such collection")
        metadata = messages.MetadataResult(id="a", score=0.5, score_present=True)
        result = messages.SearchResult(metadata=metadata)
        result.properties.non_ref_props.fields["text"].text_value = "Rain in Paris."
        return messages.SearchReply(results=[result])

    search = grpc.unary_unary_rpc_method_handler(
        reply,
        request_deserializer=messages.SearchRequest.FromString,
        response_serializer=messages.SearchReply.SerializeToString,
    )
    server = grpc.server(futures.ThreadPoolExecutor(1))
    handlers = grpc.method_handlers_generic_handler("weaviate.v1.Weaviate", {"Search": search})
    server.add_generic_rpc_handlers((handlers,))
    port: int = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield port
    server.stop(None)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_searches_of_weaviate_are_recorded(
    content_spans: InMemorySpanExporter, url: str, weaviate_port: int, asynchronous: bool
) -> None:
    """Searches for vectors and texts have a span; reading objects has none."""
    weaviate = pytest.importorskip("weaviate")
    parameters = weaviate.connect.ConnectionParams.from_url(url, weaviate_port)
    kind = weaviate.WeaviateAsyncClient if asynchronous else weaviate.WeaviateClient
    client = kind(parameters, skip_init_checks=True)
    await _value(client.connect())
    collection = client.collections.use("Atlas")
    first = await _value(collection.query.near_vector([0.1, 0.2], limit=2))
    assert first.objects[0].properties == {"text": "Rain in Paris."}
    await _value(collection.query.near_text("rain?"))
    await _value(collection.query.hybrid("rain?", vector=[0.1, 0.2]))
    await _value(collection.query.fetch_objects(limit=2))
    found = searches(content_spans, "weaviate", weaviate_port)
    assert [search.get("gen_ai.retrieval.query.text") for search in found] == [None, "rain?", "rain?"]
    assert {search["gen_ai.data_source.id"] for search in found} == {"Atlas"}
    assert found[0]["gen_ai.retrieval.top_k"] == 2
    assert "Rain in Paris." in found[0]["gen_ai.retrieval.documents"]
    content_spans.clear()
    with pytest.raises(weaviate.exceptions.WeaviateQueryError):
        await _value(client.collections.use("Missing").query.near_text("rain?"))
    assert only(content_spans.get_finished_spans(), "retrieval").status.status_code is StatusCode.ERROR
    await _value(client.close())


async def _value(result: Any) -> Any:
    return await result if isawaitable(result) else result
