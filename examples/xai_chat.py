"""Trace a chat and a stream of xAI, which speaks gRPC, offline. Run ``python examples/xai_chat.py``.

It needs xAI's SDK: ``pip install -e '.[xai]'``.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.sdk.trace import TracerProvider
from xai_sdk import Client
from xai_sdk.chat import user
from xai_sdk.proto import chat_pb2, chat_pb2_grpc, usage_pb2

import llmtrace

llmtrace.instrument(tracer_provider=TracerProvider())

HEAD: dict[str, Any] = {"id": "x-1", "model": "grok-4-0709"}
# xAI states the cost of a call in ticks, of which a US dollar has ten billion.
HEAD["usage"] = usage_pb2.SamplingUsage(prompt_tokens=12, completion_tokens=5, cost_in_usd_ticks=1_110_000)


class Vendor(chat_pb2_grpc.ChatServicer):
    """Server of one answer."""

    def GetCompletion(self, request: Any, context: Any) -> Any:
        output = chat_pb2.CompletionOutput(message={"content": "Blue light scatters more.", "role": "ROLE_ASSISTANT"})
        return chat_pb2.GetChatCompletionResponse(outputs=[output], **HEAD)

    def GetCompletionChunk(self, request: Any, context: Any) -> Any:
        delta = {"content": "Blue.", "role": "ROLE_ASSISTANT"}
        output = chat_pb2.CompletionOutputChunk(delta=delta, finish_reason="REASON_STOP")
        yield chat_pb2.GetChatCompletionChunk(outputs=[output], **HEAD)


server = grpc.server(ThreadPoolExecutor(2))
chat_pb2_grpc.add_ChatServicer_to_server(Vendor(), server)
host = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
server.start()

with Client(api_key="none", api_host=host, use_insecure_channel=True) as client, llmtrace.collect() as calls:
    chat = client.chat.create(model="grok-4", messages=[user("Why is the sky blue?")])
    print(chat.sample().content)
    print("".join(chunk.content for _, chunk in chat.stream()))
server.stop(None)

for call in calls:
    assert call.cost is not None
    print(f"{call.operation} {call.response_model}: {call.cost.total:f} USD, stated by the {call.cost.source}")
