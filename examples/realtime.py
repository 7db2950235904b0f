"""Trace the responses of a connection over a WebSocket, offline. Run ``python examples/realtime.py``.

It needs the WebSocket client that ``pip install 'openai[realtime]'`` brings.
"""

from __future__ import annotations

import json
import threading
from typing import Any

import openai
from opentelemetry.sdk.trace import TracerProvider
from websockets.sync.server import ServerConnection, serve

import llmtrace

llmtrace.instrument(tracer_provider=TracerProvider())


def vendor(connection: ServerConnection) -> None:
    """Answer each request with the events of a short response."""
    for number, _ in enumerate(connection, 1):
        name = f"resp_{number}"
        response: dict[str, Any] = {"id": name, "object": "realtime.response", "status": "in_progress", "output": []}
        at = {"response_id": name, "item_id": "item_1", "output_index": 0, "content_index": 0}
        usage = {
            **{"input_tokens": 120, "input_token_details": {"text_tokens": 90, "audio_tokens": 30}},
            **{"output_tokens": 50, "output_token_details": {"text_tokens": 10, "audio_tokens": 40}},
        }
        for event in (
            {"type": "response.created", "response": response},
            {"type": "response.output_audio_transcript.delta", **at, "delta": "Blue light scatters more."},
            {"type": "response.done", "response": {**response, "status": "completed", "usage": usage}},
        ):
            connection.send(json.dumps({"event_id": "event_1", **event}))


with serve(vendor, "127.0.0.1", 0) as server, llmtrace.collect() as calls:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = openai.OpenAI(api_key="none", websocket_base_url=f"ws://127.0.0.1:{server.socket.getsockname()[1]}")
    with client.realtime.connect(model="gpt-realtime") as connection:
        for feature in ("question", "follow-up"):
            with llmtrace.tag(feature=feature):
                connection.response.create()
            for event in connection:
                if event.type == "response.output_audio_transcript.delta":
                    print(event.delta)
                elif event.type == "response.done":
                    break

llmtrace.flush()
for call in calls:
    cost = "no known cost" if call.cost is None else f"{call.cost.total:f} USD"
    print(f"{call.feature}: {call.usage.audio_output} audio tokens out, {cost}")
