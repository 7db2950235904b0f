"""The ``anthropic`` client library."""

from __future__ import annotations

from ..contract import NativeSpans, Provider, named
from . import batches
from .messages import COMPLETE, COUNT_TOKENS, MESSAGES

ANTHROPIC = Provider(
    name="anthropic",
    distribution="anthropic",
    module="anthropic._base_client",
    supported=">=0.40,<3",
    hook=batches.hook,
    routes=named(
        "anthropic",
        {
            ("POST", "/v1/messages"): ("messages.create", MESSAGES),
            ("POST", "/v1/messages/count_tokens"): ("messages.count_tokens", COUNT_TOKENS),
            ("POST", "/v1/complete"): ("completions.create", COMPLETE),
        },
    ),
    native_spans=NativeSpans("start_api_call_span"),
)
