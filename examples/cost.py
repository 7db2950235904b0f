"""Show what calls cost, at list prices and at a price of your own, offline. Run ``python examples/cost.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor

llmtrace.instrument(
    tracer_provider=TracerProvider(),
    prices=[{"model": "our-model-*", "input": "2.50", "output": "10.00"}],  # USD per million tokens
)

MODELS = ("gpt-4o-mini", "our-model-2", "unheard-of")
RESPONSES = [completion("Rayleigh scattering.", model=model, prompt=1200, cached=1024) for model in MODELS]
with (
    vendor(*RESPONSES) as url,
    openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client,
    llmtrace.collect() as calls,
):
    for model in MODELS:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Why is the sky blue?"}])

for call in calls:
    if call.cost is None:
        print(f"{call.response_model}: no cost, {call.unpriced_reason}")
    else:
        parts = ", ".join(f"{name} {amount:f}" for name, amount in call.cost.parts.items())
        print(f"{call.response_model}: {call.cost.total:f} USD ({parts}), price from {call.cost.source}")
print("together:", f"{calls.cost.total:f}", "USD, without", calls.unpriced, "call")
