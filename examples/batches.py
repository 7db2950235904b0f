"""Batches of Gemini and a hosted agent of OpenAI, offline. Run ``python examples/batches.py``.

It needs both libraries: ``pip install -e '.[google-genai,openai]'``.
"""

from __future__ import annotations

from typing import Any

import openai
from google import genai
from google.genai import types

import llmtrace
from _vendor import vendor

llmtrace.instrument()


def result(key: str, prompt: int, output: int) -> dict[str, Any]:
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": output}
    content = {"role": "model", "parts": [{"text": "A label."}]}
    candidate = {"content": content, "finishReason": "STOP"}
    response = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
    return {"response": response, "metadata": {"key": key}}


OUTPUT = {"inlinedResponses": {"inlinedResponses": [result("a", 1000, 300), result("b", 2000, 100)]}}
DETAILS = {"model": "models/gemini-2.5-flash", "state": "BATCH_STATE_SUCCEEDED", "output": OUTPUT}
BATCH = {"name": "batches/1", "metadata": DETAILS}

with vendor(BATCH) as url, llmtrace.collect() as calls:
    gemini = genai.Client(api_key="none", http_options=types.HttpOptions(base_url=url))
    for _ in range(2):  # each result is counted once, however often the batch is fetched
        gemini.batches.get(name="batches/1")
priced = [call for call in calls if call.cost is not None]
print(f"{len(priced)} results, {calls.usage.input} tokens in, {calls.cost.total} USD")

AGENT = {"id": "agent_1", "model": "gpt-4o"}
SESSION = {"id": "sess_1", "object": "agent.session", "agent": AGENT, "status": "in_progress"}
USAGE = {"input_tokens": 5000, "output_tokens": 400, "total_tokens": 5400}
TURN = {"id": "turn_1", "session_id": "sess_1", "agent_id": "agent_1", "status": "completed", "usage": USAGE}

with vendor(SESSION, {"data": [TURN], "has_more": False}) as url, llmtrace.collect() as calls:
    sessions = openai.OpenAI(base_url=url, api_key="none").beta.agents.sessions
    session = sessions.create(environment={"type": "none"}, agent={"model": "gpt-4o"}, input="Research this.")
    for turn in sessions.turns.list(session.id):
        print(f"turn {turn.status}: {calls.usage.input} tokens in, about {calls.cost.total} USD")
