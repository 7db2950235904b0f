"""Trace a program of DSPy, offline. Run ``python examples/dspy_program.py``.

It needs DSPy: ``pip install dspy``.
"""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # LiteLLM downloads its prices unless this is set

import dspy
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import llmtrace
from _vendor import completion, print_tree, vendor

exporter, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
llmtrace.instrument(tracer_provider=provider)


class Umbrella(dspy.Module):  # type: ignore[misc] # no types
    def __init__(self) -> None:
        super().__init__()
        self.answer = dspy.ChainOfThought("weather -> advice")

    def forward(self, weather: str) -> dspy.Prediction:
        return self.answer(weather=weather)


with vendor(completion('{"reasoning": "It rains.", "advice": "Take an umbrella."}')) as url:
    # llmtrace traces the calls of LiteLLM, and not those of DSPy's own engine.
    model = dspy.LM("openai/gpt-4.1-mini", engine="litellm", api_base=f"{url}/v1", api_key="none", cache=False)
    with dspy.context(lm=model, adapter=dspy.JSONAdapter()):
        print(Umbrella()(weather="Rain until noon.").advice)

llmtrace.flush()
print_tree(exporter.get_finished_spans())
