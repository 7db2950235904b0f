"""The ``mistralai`` client library."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get_count, get_text
from .. import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, NativeSpans, Provider, Request, WireFormat, named, speakeasy
from ..openai.chat import compatible


def _adapted(wire_format: WireFormat, operation: str | None = None) -> WireFormat:
    """Return the wire format with a reader for the fields that only Mistral's requests have."""
    read = compatible(wire_format).request

    def read_request(body: Any) -> Request:
        request = read(body)
        request.operation = operation or request.operation
        request.agent_id = get_text(body, "agent_id")
        seed = get_count(body, "random_seed")
        if seed is not None:
            request.params["seed"] = seed
        return request

    return replace(wire_format, request=read_request)


MISTRAL = Provider(
    name="mistral",
    distribution="mistralai",
    module="mistralai.client.basesdk",
    supported=">=3,<4",
    hook=speakeasy,
    routes=named(
        "mistral",
        {
            ("POST", "/v1/chat/completions"): ("chat.complete", _adapted(CHAT)),
            ("POST", "/v1/agents/completions"): ("agents.complete", _adapted(CHAT, "invoke_agent")),
            ("POST", "/v1/fim/completions"): ("fim.complete", _adapted(COMPLETIONS)),
            ("POST", "/v1/responses"): ("responses.create", _adapted(RESPONSES)),
            ("POST", "/v1/embeddings"): ("embeddings.create", EMBEDDINGS),
        },
    ),
    serves="mistral_ai",
    unwrap=lambda event: event.data,
    native_spans=NativeSpans(
        "get_traced_request_and_span",
        module="mistralai.client._hooks.tracing",
        skip=lambda request, **_: (request, None),
        span=lambda result: result[1],
    ),
)
