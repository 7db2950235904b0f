"""The ``litellm`` client library, which sends most requests with an HTTP client of its own."""

from __future__ import annotations

from typing import Any

from ...capture.services import CallServices
from .. import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, Provider, named
from .._patches import Patches
from ..google.embeddings import EMBED
from ..google.generate import GENERATE
from .rerank import RERANK

__all__ = ["LITELLM"]


def _hook(provider: Provider, module: Any, services: CallServices) -> Patches:
    from .sdk import patch

    return patch(provider, module, services)


LITELLM = Provider(
    name="litellm",
    distribution="litellm",
    module="litellm",
    supported=">=1.72,<2",
    hook=_hook,
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
            ("POST", "/rerank"): ("rerank", RERANK),
        },
    ),
    doctor_imports=False,
)
