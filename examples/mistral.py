"""Trace chat, a stream and embeddings of Mistral, offline. Run ``python examples/mistral.py``.

It needs Mistral's SDK: ``pip install -e '.[mistral]'``.
"""

from __future__ import annotations

from typing import Any

from mistralai.client import Mistral
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor

llmtrace.instrument(tracer_provider=TracerProvider())

MODEL = "mistral-small-2603"
messages: Any = [{"role": "user", "content": "Why is the sky blue?"}]
answer = completion("Blue light scatters more.", model=MODEL)
# Mistral reports the usage of a stream in its last chunk, without being asked.
choice = {"index": 0, "delta": {"content": "Blue light scatters more."}, "finish_reason": "stop"}
chunk = {**answer, "object": "chat.completion.chunk", "choices": [choice]}
embedding = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
usage = {"prompt_tokens": 6, "total_tokens": 6}
vectors = {"id": "emb-1", "object": "list", "model": "mistral-embed", "data": [embedding], "usage": usage}

with (
    vendor(answer, [chunk], vectors) as url,
    Mistral(api_key="none", server_url=url) as client,
    llmtrace.collect() as calls,
):
    client.chat.complete(model=MODEL, messages=messages)
    with client.chat.stream(model=MODEL, messages=messages) as stream:
        print("".join(str(event.data.choices[0].delta.content) for event in stream))
    client.embeddings.create(model="mistral-embed", inputs=["sky"])

for call in calls:
    cost = "no known cost" if call.cost is None else f"{call.cost.total:f} USD"
    print(f"{call.operation} {call.response_model}: {call.usage.input} tokens in, {cost}")
