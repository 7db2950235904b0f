"""The SDKs we trace: where they are hooked and which paths speak which wire format."""

from __future__ import annotations

from dataclasses import dataclass

from ..wire._format import WireFormat
from ..wire.anthropic_messages import COUNT_TOKENS, MESSAGES
from ..wire.openai_chat import CHAT
from ..wire.openai_completions import COMPLETIONS
from ..wire.openai_embeddings import EMBEDDINGS
from ..wire.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS
from ..wire.openai_responses import COMPACT, INPUT_TOKENS, RESPONSES, RETRIEVE

__all__ = ["SDKS", "Sdk"]


@dataclass(frozen=True, slots=True)
class Sdk:
    name: str
    module: str
    """The module whose import calls for the patch."""
    supported: str
    provider: str
    posts: dict[str, WireFormat]
    gets: dict[str, WireFormat]
    """By path prefix; what follows is one identifier."""
    native: str | None = None
    """The function of ``module`` that opens the SDK's own span for a call, where it has one."""

    def route(self, method: str, url: str) -> WireFormat | None:
        path = url.partition("?")[0]
        if method == "post":
            return self.posts.get(path)
        if method == "get":
            prefix, _, identifier = path.rpartition("/")
            return self.gets.get(prefix) if identifier else None
        return None


SDKS = (
    Sdk(
        name="openai",
        module="openai._base_client",
        supported=">=1.40,<4",
        provider="openai",
        posts={
            "/chat/completions": CHAT,
            "/completions": COMPLETIONS,
            "/embeddings": EMBEDDINGS,
            "/responses": RESPONSES,
            "/responses/compact": COMPACT,
            "/responses/input_tokens": INPUT_TOKENS,
            "/images/generations": IMAGES,
            "/images/edits": IMAGES,
            "/images/variations": IMAGES,
            "/audio/speech": SPEECH,
            "/audio/transcriptions": TRANSCRIPTIONS,
            "/audio/translations": TRANSCRIPTIONS,
        },
        gets={"/responses": RETRIEVE},
    ),
    Sdk(
        name="anthropic",
        module="anthropic._base_client",
        supported=">=0.40,<3",
        provider="anthropic",
        posts={"/v1/messages": MESSAGES, "/v1/messages/count_tokens": COUNT_TOKENS},
        gets={},
        native="start_api_call_span",
    ),
)
