"""Trace Converse and embeddings of Amazon Bedrock, offline. Run ``python examples/bedrock.py``.

It needs boto3: ``pip install boto3``.
"""

from __future__ import annotations

import json
from typing import Any

import boto3
from opentelemetry.sdk.trace import TracerProvider

import llmtrace
from _vendor import vendor

llmtrace.instrument(tracer_provider=TracerProvider())

messages: Any = [{"role": "user", "content": [{"text": "Why is the sky blue?"}]}]
answer = {
    "output": {"message": {"role": "assistant", "content": [{"text": "Blue light scatters more."}]}},
    "stopReason": "end_turn",
    # The total says that the cached tokens are not among the input tokens.
    "usage": {"inputTokens": 12, "outputTokens": 64, "cacheReadInputTokens": 1000, "totalTokens": 1076},
    "metrics": {"latencyMs": 400},
}
vector = {"embedding": [0.1, 0.2], "inputTextTokenCount": 6}

with vendor(answer, vector) as url, llmtrace.collect() as calls:
    keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none"}
    client = boto3.client("bedrock-runtime", region_name="us-east-1", endpoint_url=url, **keys)
    response = client.converse(modelId="us.amazon.nova-lite-v1:0", messages=messages)
    print(response["output"]["message"]["content"][0]["text"])
    body = json.dumps({"inputText": "sky"})
    json.load(client.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)["body"])
    client.close()

for call in calls:
    cost = "no known cost" if call.cost is None else f"{call.cost.total:f} USD"
    print(f"{call.operation} {call.request_model}: {call.usage.input} tokens in, {cost}")
