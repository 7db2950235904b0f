"""Binary frames of the event streams of AWS."""

from __future__ import annotations

import json
import struct
import zlib
from base64 import b64encode
from typing import Any


def aws_frames(events: list[Any]) -> list[bytes]:
    """Return events in the binary frames of Amazon Bedrock's ``InvokeModel``, as base64 inside JSON."""
    return [aws_frame("chunk", {"bytes": b64encode(json.dumps(event).encode()).decode()}) for event in events]


def aws_frame(kind: str, body: Any, message: str = "event") -> bytes:
    """Return one binary frame of an event stream of AWS."""
    payload = json.dumps(body).encode()
    headers = b""
    types = {f":{message}-type": kind, ":content-type": "application/json", ":message-type": message}
    for name, value in types.items():
        headers += bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    framed = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return framed + struct.pack(">I", zlib.crc32(framed))
