"""Load a prompt from files and retrieve documents, without a model. Run ``python examples/prompt_and_documents.py``.

It needs a YAML reader: ``pip install -e '.[prompts]'``.
"""

from __future__ import annotations

import os
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

import llmtrace
from llmtrace import Document, prompts, retrieval, tag

os.environ["LLMTRACE_PROMPTS"] = str(Path(__file__).parent / "prompts")
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
llmtrace.instrument(tracer_provider=provider)

LIBRARY = [
    Document("sky", content="The sky is blue because air scatters blue light."),
    Document("sea", content="The sea is salty because rivers carry salt."),
]


@retrieval("library")
def search(question: str) -> list[Document]:
    return [document for document in LIBRARY if document.id in question]


for session in ("monday", "tuesday", "friday"):
    with tag(feature="answer", session=session):
        documents = search("why is the sky blue?")
        prompt = prompts.load("answer")  # the same session always gets the same version
        with prompt.use(documents=[document.content for document in documents], question="Why?") as messages:
            context = llmtrace.current()  # the context that a call would record here
            assert context.prompt is not None
            ids = [document.id for document in context.documents]
            print(session, "->", context.prompt.label, context.prompt.version, ids)
            print(messages)
