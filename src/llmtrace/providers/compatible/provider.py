"""The client libraries of Groq, Together, Cerebras and Fireworks, which Stainless generates too."""

from __future__ import annotations

from collections.abc import Mapping

from .. import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RERANK, Provider, WireFormat, named, stainless
from ..openai.chat import compatible
from ..openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from .groq import TIMED_CHAT

_COMPLETIONS = {
    "/chat/completions": ("chat.completions.create", compatible(CHAT)),
    "/completions": ("completions.create", compatible(COMPLETIONS)),
}
_EMBEDDINGS_AND_AUDIO = {
    "/embeddings": ("embeddings.create", EMBEDDINGS),
    "/audio/speech": ("audio.speech.create", SPEECH),
    "/audio/transcriptions": ("audio.transcriptions.create", TRANSCRIPTIONS),
    "/audio/translations": ("audio.translations.create", TRANSCRIPTIONS),
}


def _library(
    distribution: str,
    supported: str,
    methods: Mapping[str, tuple[str, WireFormat]],
    *prefixes: str,
    package: str,
    serves: str = "",
) -> Provider:
    """Return the provider of a library whose paths begin with one of ``prefixes``."""
    name = package.partition(".")[0]
    routes = {("POST", prefix + path): method for prefix in prefixes for path, method in methods.items()}
    return Provider(
        name=name,
        distribution=distribution,
        module=f"{package}._base_client",
        supported=supported,
        hook=stainless,
        routes=named(name, routes),
        serves=serves,
    )


GROQ = _library(
    "groq",
    ">=0.9,<2",
    {"/chat/completions": ("chat.completions.create", TIMED_CHAT), **_EMBEDDINGS_AND_AUDIO},
    "/openai/v1",
    package="groq",
)
TOGETHER = _library(
    "together",
    ">=2,<4",
    {
        **_COMPLETIONS,
        **_EMBEDDINGS_AND_AUDIO,
        "/rerank": ("rerank.create", RERANK),
        "/images/generations": ("images.generate", IMAGES),
    },
    "/v1",
    "",  # releases 2 have the version in the base URL
    package="together",
    serves="together_ai",
)
CEREBRAS = _library(
    "cerebras-cloud-sdk",
    ">=1,<2",
    {**_COMPLETIONS, "/chat/completions": ("chat.completions.create", TIMED_CHAT)},
    "/v1",
    package="cerebras.cloud.sdk",
)
FIREWORKS = _library(
    "fireworks-ai",
    ">=1.2,<2",
    {**_COMPLETIONS, "/messages": ("messages.create", MESSAGES)},
    "/v1",
    package="fireworks",
    serves="fireworks_ai",
)
