"""Trace Cohere, Ollama, Hugging Face and Voyage AI, offline. Run ``python examples/more_libraries.py``.

It needs their SDKs: ``pip install -e '.[cohere,ollama,hugging-face,voyage]'``.
"""

from __future__ import annotations

from typing import Any

import cohere
import ollama
import voyageai
from huggingface_hub import InferenceClient
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor

# A model on one's own machine has no listed price.
free: Any = [{"provider": "ollama", "model": "*", "input": "0", "output": "0"}]
llmtrace.instrument(tracer_provider=TracerProvider(), prices=free)

messages: Any = [{"role": "user", "content": "Why is the sky blue?"}]
message = {"role": "assistant", "content": [{"type": "text", "text": "Blue light scatters more."}]}
usage = {"billed_units": {"input_tokens": 6, "output_tokens": 5}, "tokens": {"input_tokens": 206, "output_tokens": 5}}
vectors = [{"object": "embedding", "index": 0, "embedding": "AAAAPwAAgD4="}]

with (
    vendor(
        {"id": "c-1", "finish_reason": "COMPLETE", "message": message, "usage": usage},
        {
            "model": "llama3.2",
            "message": {"role": "assistant", "content": "Blue."},
            "done": True,
            "prompt_eval_count": 9,
            "eval_count": 2,
        },
        completion("Blue light scatters more.", model="a-model"),
        {"object": "list", "data": vectors, "model": "voyage-3.5", "usage": {"total_tokens": 3}},
    ) as url,
    llmtrace.collect() as calls,
):
    cohere.ClientV2("none", base_url=url).chat(model="command-a-03-2025", messages=messages)
    ollama.Client(host=url).chat(model="llama3.2", messages=messages)
    InferenceClient(base_url=url).chat_completion(messages)
    voyageai.Client(api_key="none", base_url=url).embed(["sky"], model="voyage-3.5")

for call in calls:
    cost = call.unpriced_reason if call.cost is None else f"{call.cost.total:f} USD"
    print(f"{call.provider} {call.operation}: {call.usage.input} tokens in, {cost}")
