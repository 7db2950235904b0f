"""Requests that the caller changes after they are sent."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model.wire_format import WireFormat
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS
from llmtrace.providers.openai.chat import CHAT


class Body:
    """Request as an object of the vendor's SDK."""

    def __init__(self, reported: dict[str, Any]) -> None:
        self.__dict__.update(reported)


@pytest.mark.parametrize("made", [dict, Body])
@pytest.mark.parametrize(
    ("wire", "path"),
    [
        (CHAT, ("stop",)),
        (MESSAGES, ("stop_sequences",)),
        (GENERATE, ("generationConfig", "stopSequences")),
        (INTERACTIONS, ("generation_config", "stop_sequences")),
    ],
    ids=["chat", "messages", "generate", "interactions"],
)
def test_request_lists_are_copied(wire: WireFormat, path: tuple[str, ...], made: Any) -> None:
    """A span may be written long after the call has ended."""
    stop = ["x"]
    body: Any = stop
    for name in reversed(path):
        body = made({name: body})
    request = wire.request(body)
    stop[0] = "secret"
    stop.append("more")
    assert list(request.params["stop_sequences"]) == ["x"]
