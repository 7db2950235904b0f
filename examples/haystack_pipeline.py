"""Trace a pipeline of Haystack with its search, offline. Run ``python examples/haystack_pipeline.py``.

It needs Haystack: ``pip install -e '.[frameworks]'``.
"""

from __future__ import annotations

import os

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # Haystack reports its use to its maker unless this is set

from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)

store = InMemoryDocumentStore()
store.write_documents([Document(content="Rain until noon."), Document(content="Trains run until midnight.")])
prompt = [ChatMessage.from_user("{{ documents[0].content }} Do I need an umbrella?")]

with vendor(completion("Yes.")) as url:
    pipeline = Pipeline(metadata={"name": "umbrella"})
    pipeline.add_component("search", InMemoryBM25Retriever(store, top_k=1))
    pipeline.add_component("prompt", ChatPromptBuilder(prompt, required_variables="*"))
    key = Secret.from_token("none")
    pipeline.add_component("answer", OpenAIChatGenerator(key, model="gpt-4.1-mini", api_base_url=f"{url}/v1"))
    pipeline.connect("search.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "answer.messages")
    print(pipeline.run({"search": {"query": "rain"}})["answer"]["replies"][0].text)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
