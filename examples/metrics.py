"""Count tokens and cost as metrics, by feature, whatever a sampler drops. Run ``python examples/metrics.py``."""

from __future__ import annotations

import openai
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import llmtrace
from _vendor import completion, vendor

reader = InMemoryMetricReader()
llmtrace.instrument(
    tracer_provider=TracerProvider(sampler=ALWAYS_OFF),  # no span is exported, and every call is counted
    meter_provider=MeterProvider([reader]),
    metric_dimensions="feature",
)

with vendor(completion("Blue.")) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="none") as client:
    for feature in ("search", "search", "summary"):
        with llmtrace.tag(feature=feature):
            messages = [{"role": "user", "content": "What colour is the sky?"}]
            client.chat.completions.create(model="gpt-4.1-mini", messages=messages)
llmtrace.flush()

data = reader.get_metrics_data()
for metric in data.resource_metrics[0].scope_metrics[0].metrics:
    if metric.name in ("llmtrace.client.cost", "gen_ai.client.inference.usage.input_tokens"):
        for point in metric.data.data_points:
            attributes = point.attributes
            part = attributes.get("llmtrace.cost.class", "tokens")
            print(metric.name, attributes["llmtrace.feature"], part, round(point.value, 9))
