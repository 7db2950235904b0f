"""The ``litellm`` client library, which sends most requests with an HTTP client of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get
from .. import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RERANK, RESPONSES, Provider, Response, named
from ..bedrock.converse import CONVERSE
from ..bedrock.invoke import INVOKE
from ..cohere import chat as cohere
from ..contract import hook_in
from ..google.embeddings import EMBED
from ..google.generate import GENERATE
from ..ollama import chat as ollama


def _read_rerank(response: Any) -> Response:
    """Read the units that Cohere bills, or else the tokens that other vendors report."""
    return (RERANK if get(response, "meta") is None else cohere.RERANK).response(response)


LITELLM = Provider(
    name="litellm",
    distribution="litellm",
    module="litellm",
    supported=">=1.72,<2",
    hook=hook_in("litellm.sdk"),
    # Keyed by the end of the path: a base URL of the program's own may precede it.
    routes=named(
        "litellm",
        {
            ("POST", "/chat/completions"): ("completion", CHAT),
            ("POST", "/completions"): ("text_completion", COMPLETIONS),
            ("POST", "/messages"): ("completion", MESSAGES),
            ("POST", ":rawPredict"): ("completion", MESSAGES),
            ("POST", ":streamRawPredict"): ("completion", MESSAGES),
            ("POST", ":generateContent"): ("completion", GENERATE),
            ("POST", ":streamGenerateContent"): ("completion", GENERATE),
            ("POST", "/responses"): ("responses", RESPONSES),
            ("POST", "/embeddings"): ("embedding", EMBEDDINGS),
            ("POST", ":embedContent"): ("embedding", EMBED),
            ("POST", ":batchEmbedContents"): ("embedding", EMBED),
            ("POST", "/rerank"): ("rerank", replace(RERANK, response=_read_rerank)),
            ("POST", "/v1/chat"): ("completion", cohere.CHAT_V1),
            ("POST", "/v2/chat"): ("completion", cohere.CHAT),
            ("POST", "/v1/embed"): ("embedding", cohere.EMBED),
            ("POST", "/v2/embed"): ("embedding", cohere.EMBED),
            ("POST", "/api/chat"): ("completion", ollama.CHAT),
            ("POST", "/api/generate"): ("completion", ollama.GENERATE),
            ("POST", "/api/embed"): ("embedding", ollama.EMBED),
            ("POST", "/converse"): ("completion", CONVERSE),
            ("POST", "/converse-stream"): ("completion", CONVERSE),
            ("POST", "/invoke"): ("completion", INVOKE),
            ("POST", "/invoke-with-response-stream"): ("completion", INVOKE),
        },
    ),
    doctor_imports=False,
)
