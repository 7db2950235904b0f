"""Supported SDKs, with their hooks and the wire format of each path."""

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
from .openai.assistants import RETRIEVE_RUN, RUN
from .openai.chat import CHAT
from .openai.completions import COMPLETIONS
from .openai.embeddings import EMBEDDINGS
from .openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from .openai.moderations import MODERATIONS
from .openai.responses import COMPACT, DECISIONS, INPUT_TOKENS, RESPONSES, RETRIEVE_RESPONSE

__all__ = ["SDKS", "Sdk", "fetched_id", "sdks"]


@dataclass(frozen=True, slots=True)
class Sdk:
    """Client library, with the module to hook and the wire format of each path."""

    name: str
    module: str
    """Module whose import triggers the hook."""
    supported: str
    provider: str
    """Provider if neither the client's class nor its host identifies one."""
    hook: str = "llmtrace.providers._stainless"
    """Module whose ``patch(sdk, module, services)`` installs the hooks; loaded when the SDK is imported."""
    posts: Mapping[str, WireFormat] = field(default_factory=dict)
    gets: Mapping[str, WireFormat] = field(default_factory=dict)
    """Wire formats by path, in which ``*`` matches one identifier."""
    others: Mapping[str, Mapping[str, WireFormat]] = field(default_factory=dict)
    """Wire formats by path for each of the other HTTP methods."""
    native: str | None = None
    """Function of ``module`` that opens the SDK's own span for a call, if it has one."""

    @property
    def package(self) -> str:
        """Package that contains ``module``; empty for a top-level module."""
        return self.module.rpartition(".")[0]

    @property
    def distribution(self) -> str:
        """Name of the SDK on PyPI."""
        return self.name.replace("_", "-")

    def route(self, method: str, url: str) -> WireFormat | None:
        """Return the wire format of a path, or ``None`` if the path is not traced."""
        if method == "post":
            routes = self.posts
        elif method == "get":
            routes = self.gets
        else:
            routes = self.others.get(method, {})
        path = url.partition("?")[0]
        exact = routes.get(path)
        if exact is not None:
            return exact
        parts = path.split("/")
        for pattern, wire_format in routes.items():
            if "*" in pattern and _matches(pattern.split("/"), parts):
                return wire_format
        return None


def fetched_id(url: str) -> str:
    """Return the id of the object that a request fetches or cancels."""
    return url.partition("?")[0].removesuffix("/cancel").rpartition("/")[2]


def _matches(pattern: list[str], parts: list[str]) -> bool:
    return len(pattern) == len(parts) and all(
        part == wanted or (wanted == "*" and part) for wanted, part in zip(pattern, parts, strict=True)
    )


def _routes(sdk: str, routes: Mapping[str, tuple[str, WireFormat]]) -> dict[str, WireFormat]:
    return {path: replace(wire_format, api=f"{sdk}.{method}") for path, (method, wire_format) in routes.items()}


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
                "/responses/*/cancel": ("responses.cancel", RETRIEVE_RESPONSE),
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
                "/responses/*": ("responses.retrieve", RETRIEVE_RESPONSE),
                "/threads/*/runs/*": ("beta.threads.runs.retrieve", RETRIEVE_RUN),
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
        # Keyed by the verb after the colon; a model, or a project and its location, may precede it.
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
    """Return the supported SDKs and those that other packages add by the entry-point group ``llmtrace.providers``."""
    added: dict[str, Sdk] = {}
    for point in metadata.entry_points(group="llmtrace.providers"):
        try:
            sdk = point.load()
            if isinstance(sdk, Sdk):
                added[sdk.name] = sdk
        except Exception:
            log_internal_error(f"load the provider {point.name}")
    return (*(sdk for sdk in SDKS if sdk.name not in added), *added.values())
