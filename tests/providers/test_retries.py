"""Retries of the SDK, counted inside one span."""

from __future__ import annotations

import inspect
from typing import Any

import anthropic
import openai
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

QUESTION: Any = [{"role": "user", "content": "hi"}]


async def attempt(client: Any, model: str) -> None:
    try:
        if isinstance(client, (openai.OpenAI, openai.AsyncOpenAI)):
            made = client.chat.completions.create(model=model, messages=QUESTION)
        else:
            made = client.messages.create(model=model, messages=QUESTION, max_tokens=9)
        if inspect.isawaitable(made):
            await made
    except (openai.APIError, anthropic.APIError):
        pass
    closed = client.close()
    if inspect.isawaitable(closed):
        await closed


@pytest.mark.parametrize("kind", ["OpenAI", "AsyncOpenAI", "Anthropic", "AsyncAnthropic"])
@pytest.mark.parametrize(("times", "outcome"), [(2, "ok"), (9, "error")])
async def test_retries_are_counted(
    replay: Any, spans: InMemorySpanExporter, kind: str, times: int, outcome: str
) -> None:
    """Two retries are counted on one span, whether the last attempt succeeds or fails."""
    fault = f"status=500;retry-after=0.01;times={times}"
    headers = {
        "x-fault": fault,
        "x-fault-key": f"{kind}-{times}",
    }
    module: Any = openai if "OpenAI" in kind else anthropic
    path = "/v1" if module is openai else ""
    client = getattr(module, kind)(base_url=replay.url + path, api_key="x", max_retries=2, default_headers=headers)
    await attempt(client, "gpt-5" if module is openai else "claude-3-haiku-20240307")
    (span,) = spans.get_finished_spans()
    reported = dict(span.attributes or {})
    assert reported["llmtrace.retry.count"] == 2
    assert reported["llmtrace.outcome"] == outcome
