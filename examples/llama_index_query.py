"""Trace a query of LlamaIndex with its search, offline. Run ``python examples/llama_index_query.py``.

It needs LlamaIndex: ``pip install -e '.[frameworks]'``. With a model of a package such as ``llama-index-llms-openai``
the spans are the same; here the model is one of the program's own.
"""

from __future__ import annotations

from typing import Any

import openai
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


class Model(CustomLLM):
    url: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="gpt-4.1-mini")

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        client = openai.OpenAI(base_url=self.url, api_key="none")
        messages: Any = [{"role": "user", "content": prompt}]
        response = client.chat.completions.create(model="gpt-4.1-mini", messages=messages)
        return CompletionResponse(text=response.choices[0].message.content or "")

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        yield self.complete(prompt)


with vendor(completion("It rains.")) as url:
    documents = [Document(text="Rain until noon.", id_="today"), Document(text="Sunny.", id_="tomorrow")]
    index = VectorStoreIndex.from_documents(documents, embed_model=MockEmbedding(embed_dim=2))
    engine = index.as_query_engine(llm=Model(url=f"{url}/v1"), similarity_top_k=1)
    print(engine.query("Do I need an umbrella today?"))

llmtrace.flush()
spans = exporter.get_finished_spans()
print_tree(spans)
(answer,) = [span for span in spans if span.name.startswith("chat")]
print("documents of the answer:", len((answer.attributes or {})["llmtrace.retrieval.document_ids"]))  # type: ignore[arg-type] # a sequence
