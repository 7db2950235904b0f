"""The ``google-genai`` client library."""

from __future__ import annotations

from ..contract import Provider, hook_in, named
from .batches import BATCH
from .embeddings import EMBED
from .generate import GENERATE
from .predict import PREDICT, PREDICT_LONG
from .tokens import CACHES, COUNT

GOOGLE_GENAI = Provider(
    name="google_genai",
    distribution="google-genai",
    module="google.genai.client",
    supported=">=1.0,<4",
    hook=hook_in("google.sdk"),
    serves="gcp.gemini",
    # Keyed by the verb after the colon; a model, or a project and its location, may precede it.
    routes=named(
        "google_genai",
        {
            ("POST", ":generateContent"): ("models.generate_content", GENERATE),
            ("POST", ":streamGenerateContent"): ("models.generate_content_stream", GENERATE),
            ("POST", ":countTokens"): ("models.count_tokens", COUNT),
            ("POST", ":embedContent"): ("models.embed_content", EMBED),
            ("POST", ":batchEmbedContents"): ("models.embed_content", EMBED),
            ("POST", ":predict"): ("models.predict", PREDICT),
            ("POST", ":predictLongRunning"): ("models.generate_videos", PREDICT_LONG),
            ("GET", "batches/*"): ("batches.get", BATCH),
            ("GET", "batchPredictionJobs/*"): ("batches.get", BATCH),
            ("POST", "cachedContents"): ("caches.create", CACHES["create"]),
            ("GET", "cachedContents"): ("caches.list", CACHES["list"]),
            ("GET", "cachedContents/*"): ("caches.get", CACHES["get"]),
            ("PATCH", "cachedContents/*"): ("caches.update", CACHES["update"]),
            ("DELETE", "cachedContents/*"): ("caches.delete", CACHES["delete"]),
            ("CONNECT", "live"): ("live.connect", GENERATE),  # one call per turn on a WebSocket
        },
    ),
)
