"""Query the local store from Python: the cost of two sample features. Run ``python examples/ask_the_store.py``."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from llmtrace.report.aggregate import report
from llmtrace.report.select import selection
from llmtrace.store.exporter import StoreExporter
from llmtrace.store.schema import connect

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "spans.db"
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(StoreExporter(path)))
    tracer = provider.get_tracer("llmtrace.example")
    for number in range(30):
        # The attributes that llmtrace.instrument() would record for a call.
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4.1-mini",
            "llmtrace.feature": "search" if number % 3 else "digest",
            "gen_ai.usage.input_tokens": 1000 + number,
            "gen_ai.usage.output_tokens": 120,
            "llm.cost.total": 0.0006,
        }
        with tracer.start_as_current_span("chat gpt-4.1-mini", attributes=attributes):
            pass
    provider.shutdown()

    with closing(connect(path)) as store:
        for (feature,), group in report(store, selection(since="1h"), ("feature",)).rows:
            print(f"{feature}: {group.calls} calls, {group.input} tokens in, ${group.dollars}")
