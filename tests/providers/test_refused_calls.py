"""Calls of clients whose hooks count every attempt: a budget refuses them before their first request."""

from __future__ import annotations

import gc
from typing import Any

import pytest
from answers import QUESTION
from google import genai
from helpers import resolve
from loopback import Loopback
from mistralai.client import Mistral
from opentelemetry.sdk.trace import TracerProvider

import llmtrace


async def generate(url: str, colour: str, *, stream: bool) -> None:
    client = genai.Client(api_key="k", http_options={"base_url": url})
    models: Any = client.models if colour == "sync" else client.aio.models
    if stream:
        chunks = await resolve(models.generate_content_stream(model="gemini-2.5-flash", contents="hi"))
        _ = [each async for each in chunks] if colour == "async" else list(chunks)
    else:
        await resolve(models.generate_content(model="gemini-2.5-flash", contents="hi"))


async def complete(url: str, colour: str, *, stream: bool) -> None:
    chat: Any = Mistral(api_key="k", server_url=url).chat
    name = ("stream" if stream else "complete") + ("_async" if colour == "async" else "")
    await resolve(getattr(chat, name)(model="m", messages=QUESTION))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("ask", [generate, complete])
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_budget_refuses_a_call_before_its_first_attempt(
    ask: Any, colour: str, stream: bool, loopback: Loopback
) -> None:
    """``BudgetExceeded`` is raised, and no request is sent."""
    budget = llmtrace.Budget(name="none", tokens=0, action="block")
    with (
        llmtrace.instrument(tracer_provider=TracerProvider(), budgets=[budget]),
        pytest.raises(llmtrace.BudgetExceeded),
    ):
        await ask(loopback.url, colour, stream=stream)
    assert not loopback.received
    gc.collect()  # the clients stay open
