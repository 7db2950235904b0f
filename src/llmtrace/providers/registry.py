"""The SDKs we trace: where they are hooked and which paths speak which wire format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata

from .._errors import log_internal_error
from ..model.wire_format import WireFormat
from .anthropic.messages import COMPLETE, COUNT_TOKENS, MESSAGES
from .google.embeddings import EMBED
from .google.generate import GENERATE
from .google.predict import PREDICT, PREDICT_LONG
from .google.tokens import CACHES, COUNT
from .openai.assistants import RUN, RUN_RETRIEVE
from .openai.chat import CHAT
from .openai.completions import COMPLETIONS
from .openai.embeddings import EMBEDDINGS
from .openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from .openai.moderations import MODERATIONS
from .openai.responses import COMPACT, DECISIONS, INPUT_TOKENS, RESPONSES, RETRIEVE

__all__ = ["SDKS", "Sdk", "fetched_id", "sdks"]


@dataclass(frozen=True, slots=True)
class Sdk:
    """One client library: where it is hooked, and what is spoken on which of its paths."""

    name: str
    module: str
    """The module whose import calls for the patch."""
    supported: str
    provider: str
    """Who is called when neither the client's class nor its host says otherwise."""
    hook: str = "llmtrace.providers._stainless"
    """The module whose ``patch(sdk, module, tracing)`` puts the hooks in place; loaded when the SDK is imported."""
    posts: Mapping[str, WireFormat] = field(default_factory=dict)
    gets: Mapping[str, WireFormat] = field(default_factory=dict)
    """By path; ``*`` stands for one identifier."""
    others: Mapping[str, Mapping[str, WireFormat]] = field(default_factory=dict)
    """Of the other HTTP methods, by method."""
    native: str | None = None
    """The function of ``module`` that opens the SDK's own span for a call, where it has one."""

    @property
    def package(self) -> str:
        """The package that ``module`` is in; empty where it is one by itself."""
        return self.module.rpartition(".")[0]

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
            routes = self.others.get(method, {})
        path = url.partition("?")[0]
        found = routes.get(path)
        if found is not None:
            return found
        parts = path.split("/")
        for pattern, wire in routes.items():
            if "*" in pattern and _matches(pattern.split("/"), parts):
                return wire
        return None


def fetched_id(url: str) -> str:
    """Return the id of the object that a request fetches or cancels."""
    return url.partition("?")[0].removesuffix("/cancel").rpartition("/")[2]


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        part == wanted or (wanted == "*" and part) for wanted, part in zip(pattern, parts, strict=True)
    )


def _routes(sdk: str, routes: Mapping[str, tuple[str, WireFormat]]) -> dict[str, WireFormat]:
    return {path: replace(wire, api=f"{sdk}.{method}") for path, (method, wire) in routes.items()}


SDKS = (
    Sdk(
        name="openai",
        module="openai._base_client",
        supported=">=1.40,<4",
        provider="openai",
        posts=_routes(
            "openai",
            {
                "/chat/completions": ("chat.completions.create", CHAT),
                "/completions": ("completions.create", COMPLETIONS),
                "/embeddings": ("embeddings.create", EMBEDDINGS),
                "/responses": ("responses.create", RESPONSES),
                "/responses/*/cancel": ("responses.cancel", RETRIEVE),
                "/responses/compact": ("responses.compact", COMPACT),
                "/responses/input_tokens": ("responses.input_tokens.count", INPUT_TOKENS),
                "/decisions": ("decisions.create", DECISIONS),
                "/moderations": ("moderations.create", MODERATIONS),
                "/images/generations": ("images.generate", IMAGES),
                "/images/edits": ("images.edit", IMAGES),
                "/images/variations": ("images.create_variation", IMAGES),
                "/audio/speech": ("audio.speech.create", SPEECH),
                "/audio/transcriptions": ("audio.transcriptions.create", TRANSCRIPTIONS),
                "/audio/translations": ("audio.translations.create", TRANSCRIPTIONS),
                "/threads/runs": ("beta.threads.create_and_run", RUN),
                "/threads/*/runs": ("beta.threads.runs.create", RUN),
                "/threads/*/runs/*/submit_tool_outputs": ("beta.threads.runs.submit_tool_outputs", RUN),
            },
        ),
        gets=_routes(
            "openai",
            {
                "/responses/*": ("responses.retrieve", RETRIEVE),
                "/threads/*/runs/*": ("beta.threads.runs.retrieve", RUN_RETRIEVE),
            },
        ),
    ),
    Sdk(
        name="anthropic",
        module="anthropic._base_client",
        supported=">=0.40,<3",
        provider="anthropic",
        posts=_routes(
            "anthropic",
            {
                "/v1/messages": ("messages.create", MESSAGES),
                "/v1/messages/count_tokens": ("messages.count_tokens", COUNT_TOKENS),
                "/v1/complete": ("completions.create", COMPLETE),
            },
        ),
        native="start_api_call_span",
    ),
    Sdk(
        name="google_genai",
        module="google.genai.client",
        supported=">=1.0,<4",
        provider="gcp.gemini",
        hook="llmtrace.providers.google.sdk",
        # By the verb behind the colon; a model, or a project and its location, may stand before it.
        posts=_routes(
            "google_genai",
            {
                ":generateContent": ("models.generate_content", GENERATE),
                ":streamGenerateContent": ("models.generate_content_stream", GENERATE),
                ":countTokens": ("models.count_tokens", COUNT),
                ":embedContent": ("models.embed_content", EMBED),
                ":batchEmbedContents": ("models.embed_content", EMBED),
                ":predict": ("models.predict", PREDICT),
                ":predictLongRunning": ("models.generate_videos", PREDICT_LONG),
                "cachedContents": ("caches.create", CACHES["create"]),
            },
        ),
        gets=_routes(
            "google_genai",
            {"cachedContents": ("caches.list", CACHES["list"]), "cachedContents/*": ("caches.get", CACHES["get"])},
        ),
        others={
            "patch": _routes("google_genai", {"cachedContents/*": ("caches.update", CACHES["update"])}),
            "delete": _routes("google_genai", {"cachedContents/*": ("caches.delete", CACHES["delete"])}),
        },
    ),
)


def sdks() -> tuple[Sdk, ...]:
    """The SDKs above, and those that other packages add through the entry-point group ``llmtrace.providers``."""
    added: dict[str, Sdk] = {}
    for point in metadata.entry_points(group="llmtrace.providers"):
        try:
            sdk = point.load()
            if isinstance(sdk, Sdk):
                added[sdk.name] = sdk
        except Exception:
            log_internal_error(f"load the client {point.name}")
    return (*(sdk for sdk in SDKS if sdk.name not in added), *added.values())
