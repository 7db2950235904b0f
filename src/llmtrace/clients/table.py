"""The SDKs we trace: where they are hooked and which paths speak which wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata

from .._guard import report
from ..wire._format import WireFormat
from ..wire.anthropic_messages import COUNT_TOKENS, MESSAGES
from ..wire.openai_chat import CHAT
from ..wire.openai_completions import COMPLETIONS
from ..wire.openai_embeddings import EMBEDDINGS
from ..wire.openai_media import IMAGES, SPEECH, TRANSCRIPTIONS
from ..wire.openai_moderations import MODERATIONS
from ..wire.openai_responses import COMPACT, DECISIONS, INPUT_TOKENS, RESPONSES, RETRIEVE

__all__ = ["SDKS", "Sdk", "sdks"]


@dataclass(frozen=True, slots=True)
class Sdk:
    name: str
    module: str
    """The module whose import calls for the patch."""
    supported: str
    provider: str
    """Who is called when neither the client's class nor its host says otherwise."""
    hook: str = "llmtrace.clients.stainless"
    """The module whose ``patch(sdk, module, tracing)`` puts the hooks in place; loaded when the SDK is imported."""
    posts: Mapping[str, WireFormat] = field(default_factory=dict)
    gets: Mapping[str, WireFormat] = field(default_factory=dict)
    """By path; ``*`` stands for one identifier."""
    native: str | None = None
    """The function of ``module`` that opens the SDK's own span for a call, where it has one."""

    @property
    def distribution(self) -> str:
        """The name of the SDK on PyPI."""
        return self.name.replace("_", "-")

    def route(self, method: str, url: str) -> WireFormat | None:
        """The wire format spoken on a path, or ``None`` for what we do not trace."""
        if method == "post":
            routes = self.posts
        elif method == "get":
            routes = self.gets
        else:
            return None
        path = url.partition("?")[0]
        found = routes.get(path)
        if found is not None:
            return found
        parts = path.split("/")
        for pattern, wire in routes.items():
            if "*" in pattern and _matches(pattern.split("/"), parts):
                return wire
        return None


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        part == wanted or (wanted == "*" and part) for wanted, part in zip(pattern, parts, strict=True)
    )


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
            "/decisions": DECISIONS,
            "/moderations": MODERATIONS,
            "/images/generations": IMAGES,
            "/images/edits": IMAGES,
            "/images/variations": IMAGES,
            "/audio/speech": SPEECH,
            "/audio/transcriptions": TRANSCRIPTIONS,
            "/audio/translations": TRANSCRIPTIONS,
        },
        gets={"/responses/*": RETRIEVE},
    ),
    Sdk(
        name="anthropic",
        module="anthropic._base_client",
        supported=">=0.40,<3",
        provider="anthropic",
        posts={"/v1/messages": MESSAGES, "/v1/messages/count_tokens": COUNT_TOKENS},
        native="start_api_call_span",
    ),
)


def sdks() -> tuple[Sdk, ...]:
    """The SDKs above, and those that other packages add through the entry-point group ``llmtrace.clients``."""
    added: dict[str, Sdk] = {}
    for point in metadata.entry_points(group="llmtrace.clients"):
        try:
            sdk = point.load()
            if isinstance(sdk, Sdk):
                added[sdk.name] = sdk
        except Exception:
            report(f"load the client {point.name}")
    return (*(sdk for sdk in SDKS if sdk.name not in added), *added.values())
