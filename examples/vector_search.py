"""Trace a search of a vector store and the answer, offline. Run ``python examples/vector_search.py``.

It needs Qdrant's client, which runs the store in the process: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

from typing import Any

import openai
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from qdrant_client import QdrantClient, models

import llmtrace
from _vendor import completion, print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)

store = QdrantClient(":memory:")
store.create_collection("atlas", models.VectorParams(size=2, distance=models.Distance.COSINE))
vectors = {1: [0.1, 0.9], 2: [0.9, 0.1]}
texts = {1: "Rain until noon.", 2: "Trains run until midnight."}
store.upsert("atlas", [models.PointStruct(id=id_, vector=vectors[id_], payload={"text": texts[id_]}) for id_ in texts])

with vendor(completion("Yes.")) as url, llmtrace.workflow("ask"):
    (point,) = store.query_points("atlas", [0.2, 0.8], limit=1).points
    question = f"{(point.payload or {})['text']} Do I need an umbrella?"
    messages: Any = [{"role": "user", "content": question}]
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none")
    print(client.chat.completions.create(model="gpt-4.1-mini", messages=messages).choices[0].message.content)

llmtrace.flush()
spans = exporter.get_finished_spans()
print_tree(spans)
for span in spans:
    if span.name != "invoke_workflow ask":
        print(f"{span.name}: documents", (span.attributes or {})["llmtrace.retrieval.document_ids"])
