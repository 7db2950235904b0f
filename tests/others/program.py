"""Program that makes calls with llmtrace and another instrumentation, and prints what is recorded of each as JSON.

``python program.py NAME first|second|alone``: the other instrumentation is started before llmtrace, after it, or
without it. ``PYTHONPATH`` has ``tests`` and ``tests/providers``.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from collections.abc import Mapping
from inspect import isawaitable
from typing import Any

from calls import Calls
from instrumentations import START
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from vendors import Vendors

import llmtrace
from serving import serving

_INPUT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")


def owner_of(span: Any) -> str:
    """Return ``llmtrace``, or ``other`` for a span of the other instrumentation."""
    return "llmtrace" if span.instrumentation_scope.name.startswith("llmtrace") else "other"


def has_tokens(attributes: Mapping[str, Any]) -> bool:
    """Return True if the token counts of the response are on a span with these attributes."""
    counts = [attributes[name] for name in _INPUT_TOKENS if name in attributes]
    if (details := attributes.get("langfuse.observation.usage_details")) is not None:
        usage = json.loads(details)
        counts.append(usage.get("prompt_tokens", usage.get("input_tokens", usage.get("input"))))
    assert set(counts) <= {7}, counts
    return bool(counts)


async def observe(call: Any, server: Vendors, exporter: InMemorySpanExporter) -> dict[str, Any]:
    """Make a call with a tag, and again with a tag whose budget is 0. Return what was recorded."""
    exporter.clear()
    server.received.clear()
    with llmtrace.collect() as calls, llmtrace.tag(feature="f"):
        text = call()
        text = await text if isawaitable(text) else text
    gc.collect()
    llmtrace.flush(10)
    spans = exporter.get_finished_spans()
    recorded: dict[str, Any] = {
        "text": text,
        "requests": len(server.received),
        "tokens": sorted(owner_of(span) for span in spans if has_tokens(span.attributes or {})),
        "costs": sorted(owner_of(span) for span in spans if "llm.cost.total" in (span.attributes or {})),
        "tags": sorted(owner_of(span) for span in spans if (span.attributes or {}).get("llmtrace.feature") == "f"),
        "collected": [[one.usage.input, one.cost is not None, one.feature] for one in calls],
    }
    server.received.clear()
    try:
        with llmtrace.tag(feature="refused"):
            refused = call()
            await refused if isawaitable(refused) else refused
        recorded["refused"] = False
    except llmtrace.BudgetExceeded:
        recorded["refused"] = not server.received
    return recorded


async def main(name: str, order: str) -> None:
    """Make every call and print the results."""
    exporter = InMemorySpanExporter()
    with serving(Vendors()) as server:
        if order != "second":
            START[name](exporter, server.url)
        if order == "alone":
            llmtrace.instrument(enabled=False)
        else:
            budget = llmtrace.Budget("none", tokens=0, match={"feature": "refused"}, action="block")
            # The provider of llmtrace is the global one, which some set later than llmtrace starts.
            done = llmtrace.instrument(budgets=[budget], handle_sigterm="off")
        if order == "second":
            START[name](exporter, server.url)
        calls = Calls(server.url)
        cases = [each for each in vars(Calls) if not each.startswith("_")]
        results = {each: await observe(getattr(calls, each), server, exporter) for each in cases}
        skipped = {} if order == "alone" else dict(done.skipped)
        print("RESULT " + json.dumps({"results": results, "skipped": skipped}), flush=True)
    provider: Any = trace.get_tracer_provider()
    provider.shutdown()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
