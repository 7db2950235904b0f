"""Trace the libraries of Groq, Together, Cerebras and Fireworks, offline. Run ``python examples/compatible_sdks.py``.

It needs their SDKs: ``pip install -e '.[groq,together,cerebras,fireworks]'``.
"""

from __future__ import annotations

from typing import Any

from cerebras.cloud.sdk import Cerebras
from fireworks import Fireworks
from groq import Groq
from opentelemetry.sdk.trace import TracerProvider
from together import Together

import llmtrace
from _vendor import completion, vendor

llmtrace.instrument(tracer_provider=TracerProvider())

MODELS = {
    Groq: "openai/gpt-oss-120b",
    Together: "zai-org/GLM-5.2",
    Cerebras: "gpt-oss-120b",
    Fireworks: "accounts/fireworks/models/deepseek-v3p2",
}
messages: Any = [{"role": "user", "content": "Why is the sky blue?"}]

with llmtrace.collect() as calls:
    for library, model in MODELS.items():
        with vendor(completion("Blue light scatters more.", model=model)) as url:
            options: dict[str, Any] = {"warm_tcp_connection": False} if library is Cerebras else {}
            client: Any = library(api_key="none", base_url=url, **options)
            client.chat.completions.create(model=model, messages=messages)

for call in calls:
    assert call.cost is not None
    print(f"{call.provider} {call.response_model}: {call.usage.output} tokens out, {call.cost.total:f} USD")
