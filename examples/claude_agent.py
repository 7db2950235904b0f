"""Trace two queries of the Claude Agent SDK, offline. Run ``python examples/claude_agent.py``.

It needs the SDK: ``pip install -e '.[claude-agent]'``. A transport takes the place of the process of Claude Code.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from claude_agent_sdk import ClaudeSDKClient, Transport
from opentelemetry.sdk.trace import TracerProvider

import llmtrace

llmtrace.instrument(tracer_provider=TracerProvider())
ANSWER = {"role": "assistant", "model": "claude-sonnet-4-5", "content": [{"type": "text", "text": "Done."}]}
TIMES = {"duration_ms": 1, "duration_api_ms": 1, "num_turns": 1, "is_error": False}
RESULT = {"subtype": "success", "session_id": "s", "usage": {"input_tokens": 900, "output_tokens": 60}}


class Process(Transport):
    async def connect(self) -> None:
        self.messages, self.cost = asyncio.Queue[Any](), 0.0

    async def write(self, data: str) -> None:
        message = json.loads(data)
        if message["type"] == "control_request":
            response = {"subtype": "success", "request_id": message["request_id"], "response": {}}
            await self.messages.put({"type": "control_response", "response": response})
        else:
            self.cost += 0.0125  # the process states the cost of all its answers
            await self.messages.put({"type": "assistant", "message": ANSWER})
            await self.messages.put({"type": "result", **RESULT, **TIMES, "total_cost_usd": self.cost})

    async def read_messages(self) -> AsyncIterator[dict[str, Any]]:
        while (message := await self.messages.get()) is not None:
            yield message

    async def close(self) -> None:
        await self.messages.put(None)

    def is_ready(self) -> bool:
        return True

    async def end_input(self) -> None: ...


async def main() -> None:
    async with ClaudeSDKClient(transport=Process()) as client:
        for feature in ("review", "fix"):
            with llmtrace.tag(feature=feature), llmtrace.collect() as calls:
                await client.query("Have a look.")
                assert [message async for message in client.receive_response()]
            print(f"{feature}: {calls.usage.output} tokens out, {calls.cost.total} USD")


asyncio.run(main())
