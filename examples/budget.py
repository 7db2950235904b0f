"""Block calls beyond a spending limit, offline. Run ``python examples/budget.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor

llmtrace.instrument(tracer_provider=TracerProvider())
llmtrace.budget("demo", usd="0.0001", per="total", by="user", action="block")

RESPONSE = completion("Rayleigh scattering.", model="gpt-4o-mini")
with vendor(RESPONSE) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    for user in ("ada", "ada", "ada", "bob"):
        messages = [{"role": "user", "content": "Why is the sky blue?"}]
        with llmtrace.collect() as calls, llmtrace.tag(user=user):
            try:
                client.chat.completions.create(model="gpt-4o-mini", max_tokens=64, messages=messages)
                print(user, "spent", calls.cost.total, "USD")
            except llmtrace.BudgetExceeded as error:
                print("blocked:", error)
