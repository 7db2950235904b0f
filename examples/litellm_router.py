"""Trace LiteLLM: two vendors, a fallback, and a budget that no fallback evades.

Run ``python examples/litellm_router.py``. It runs offline and needs LiteLLM: ``pip install -e '.[litellm]'``.
"""

from __future__ import annotations

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # else LiteLLM downloads a price list

import litellm
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import completion, vendor

llmtrace.instrument(tracer_provider=TracerProvider())

messages = [{"role": "user", "content": "Why is the sky blue?"}]
text = [{"type": "text", "text": "Blue light scatters more."}]
usage = {"input_tokens": 12, "cache_read_input_tokens": 1000, "output_tokens": 64}
message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "content": text}
message |= {"stop_reason": "end_turn", "stop_sequence": None, "usage": usage}

with vendor(message) as anthropic, vendor(completion("Blue light scatters more.")) as openai:
    claude = {"model": "anthropic/claude-sonnet-4-5", "api_base": anthropic, "api_key": "none"}
    gpt = {"model": "openai/gpt-4.1-mini", "api_base": f"{openai}/v1", "api_key": "none"}
    models = [{"model_name": "smart", "litellm_params": claude}, {"model_name": "cheap", "litellm_params": gpt}]
    router = litellm.Router(model_list=models, fallbacks=[{"smart": ["cheap"]}])

    with llmtrace.collect() as calls:
        router.completion(model="smart", messages=messages)
        router.completion(model="cheap", messages=messages)
    for call in calls:
        print(f"{call.provider} {call.request_model}: {call.usage.input} tokens in, {call.cost.total:f} USD")

    llmtrace.budget("claude", tokens=1, per="total", match={"provider": "anthropic"}, action="block")
    try:
        router.completion(model="smart", messages=messages)
    except llmtrace.BudgetExceeded as refused:
        print("blocked:", refused.budget.name)
