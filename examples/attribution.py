"""Tag calls and sum up their cost, offline. Run ``python examples/attribution.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor
from llmtrace import ContextExecutor, collect, score, tag, tool, workflow

llmtrace.instrument(tracer_provider=TracerProvider())

with vendor(completion("Sunny.")) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:

    @tool("weather")
    def weather(city: str) -> str | None:
        messages = [{"role": "user", "content": f"What is the weather in {city}?"}]
        return client.chat.completions.create(model="gpt-4.1-mini", messages=messages).choices[0].message.content

    with (
        collect() as calls,
        tag(feature="travel", user="u-17", plan="pro"),
        workflow("trip", rollup=True),
        ContextExecutor(2) as pool,
    ):
        print(list(pool.map(weather, ["Paris", "Rome"])))
score("helpful", 1, label="yes", on=calls[-1])
print(len(calls), "calls for", {call.user for call in calls}, calls.usage.input, "input tokens")
print(calls.cost.total, "USD, in one trace:", len({call.trace_id for call in calls}) == 1)
