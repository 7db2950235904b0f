"""WebSocket connections of the loopback server for the programs of the documentation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

from websockets.frames import Opcode
from websockets.server import ServerProtocol

TEXT = "The sky is blue because air scatters blue light."
TOKENS = {"input_tokens": 12, "output_tokens": 10, "total_tokens": 22}


def serve_socket(handler: BaseHTTPRequestHandler) -> None:
    """Answer the messages of a client until it closes the connection whose handshake ``handler`` has read."""
    handler.close_connection = True
    protocol = ServerProtocol()
    protocol.receive_data(f"{handler.requestline}\n{handler.headers}".replace("\n", "\r\n").encode())
    (request,) = protocol.events_received()
    protocol.send_response(protocol.accept(request))  # type: ignore[arg-type]
    while True:
        for data in protocol.data_to_send():
            handler.wfile.write(data)
        if not (received := handler.rfile.read1(65536)):  # type: ignore[attr-defined]
            return
        protocol.receive_data(received)
        for frame in protocol.events_received():
            if frame.opcode is Opcode.TEXT:  # type: ignore[union-attr]
                for event in _events(json.loads(frame.data)):  # type: ignore[union-attr]
                    protocol.send_text(json.dumps(event).encode())


def _events(message: Any) -> Iterator[Any]:
    if message.get("type") == "response.create":
        response = {"id": "resp_1", "object": "realtime.response", "status": "in_progress", "output": []}
        yield {"type": "response.created", "response": response}
        yield {"type": "response.output_text.delta", "response_id": "resp_1", "output_index": 0, "delta": TEXT}
        yield {"type": "response.done", "response": {**response, "status": "completed", "usage": TOKENS}}
