"""The entry point of ``opentelemetry-instrument``."""

from __future__ import annotations

from importlib.metadata import entry_points

import openai
from opentelemetry.sdk.trace import TracerProvider

from llmtrace._auto import LlmtraceInstrumentor


def test_instrumentor_uses_the_passed_provider_and_uninstruments() -> None:
    """The instrumentor needs no client, uses the passed tracer provider, and is removed completely."""
    (found,) = entry_points(group="opentelemetry_instrumentor", name="llmtrace")
    assert found.load() is LlmtraceInstrumentor
    bare = openai.OpenAI.request
    instrumentor = LlmtraceInstrumentor()
    assert list(instrumentor.instrumentation_dependencies()) == []
    instrumentor.instrument(tracer_provider=TracerProvider(), skip_dep_check=True)
    try:
        assert openai.OpenAI.request is not bare
    finally:
        instrumentor.uninstrument()
    assert openai.OpenAI.request is bare
