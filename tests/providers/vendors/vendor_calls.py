"""The libraries of Cohere, Hugging Face, Ollama and Voyage AI: their methods, and small responses of each."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cohere
import huggingface_hub
import ollama
import pytest
import voyageai
from answers import CHAT, CHAT_CHUNKS, CHAT_USAGE, QUESTION, sse
from helpers import resolve
from loopback import ServerResponse, json_answer, stream_answer

import llmtrace

COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])


@dataclass(frozen=True)
class Method:
    """Method of a library, what a server responds, and what its span must have."""

    name: str
    """Name in ``llmtrace.api``."""
    operation: str
    call: Callable[[Any], Any]
    body: Any
    stream: Callable[[Any], Any] | None = None
    parts: list[bytes] = field(default_factory=list)
    """Body of the stream."""
    kind: str = "text/event-stream"
    tokens: tuple[int | None, int | None] = (7, 3)
    model: str | None = "m-1"
    request_model: str | None = "m"
    client: str = ""
    """The client, if the vendor has several."""

    @property
    def vendor(self) -> str:
        return self.name.partition(".")[0]

    def respond(self, *, stream: bool = False) -> ServerResponse:
        """Return what the vendor responds."""
        return stream_answer(self.parts, kind=self.kind) if stream else json_answer(self.body)

    async def ask(self, client: Any, *, stream: bool = False) -> Any:
        """Make a call. A stream is returned unread."""
        call = self.stream if stream else self.call
        assert call is not None
        return await resolve(call(client))


def lines(items: list[Any]) -> list[bytes]:
    return [json.dumps(item).encode() + b"\n" for item in items]


# --------------------------------------------------------------------------
# Cohere
# --------------------------------------------------------------------------
BILLED = {"billed_units": {"input_tokens": 7, "output_tokens": 3}, "tokens": {"input_tokens": 207, "output_tokens": 3}}
COHERE_CHAT = {
    "id": "c-1",
    "finish_reason": "COMPLETE",
    "message": {"role": "assistant", "content": [{"type": "text", "text": "hé"}]},
    "usage": BILLED,
}
COHERE_EVENTS = [
    {"type": "message-start", "id": "c-1", "delta": {"message": {"role": "assistant", "content": []}}},
    {"type": "content-start", "index": 0, "delta": {"message": {"content": {"type": "text", "text": ""}}}},
    {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "hé 漢字"}}}},
    {"type": "content-end", "index": 0},
    {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}},
]
COHERE_V1 = {
    "text": "hé",
    "generation_id": "g-1",
    "response_id": "c-1",
    "finish_reason": "COMPLETE",
    "meta": {"api_version": {"version": "1"}, **BILLED},
}
COHERE_V1_EVENTS = [
    {"event_type": "stream-start", "generation_id": "g-1", "is_finished": False},
    {"event_type": "text-generation", "text": "hé", "is_finished": False},
    {"event_type": "stream-end", "finish_reason": "COMPLETE", "response": COHERE_V1, "is_finished": True},
]
COHERE_EMBEDDINGS = {
    "id": "e-1",
    "response_type": "embeddings_by_type",
    "embeddings": {"float": [[0.5, 0.25]]},
    "texts": ["a"],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
}
COHERE_RERANK = {
    "id": "r-1",
    "results": [{"index": 1, "relevance_score": 0.9}],
    "meta": {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}},
}
# --------------------------------------------------------------------------
# Ollama
# --------------------------------------------------------------------------
HEAD = {"model": "m-1", "created_at": "2026-01-01T00:00:00Z"}
OLLAMA_USAGE = {"done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}
OLLAMA_USAGE |= {"total_duration": 9, "eval_duration": 2_500_000_000}
OLLAMA_CHAT = {**HEAD, "message": {"role": "assistant", "content": "hé"}, **OLLAMA_USAGE}
OLLAMA_CHUNKS = [
    {**HEAD, "message": {"role": "assistant", "content": "hé "}, "done": False},
    {**HEAD, "message": {"role": "assistant", "content": "漢字"}, "done": False},
    {**HEAD, "message": {"role": "assistant", "content": ""}, **OLLAMA_USAGE},
]
OLLAMA_PIECES = [
    {**HEAD, "response": "hé", "done": False},
    {**HEAD, "response": "", **OLLAMA_USAGE},
]
# --------------------------------------------------------------------------
# Hugging Face
# --------------------------------------------------------------------------
HF_CHUNKS = [*CHAT_CHUNKS[:2], {**CHAT_CHUNKS[2], "usage": CHAT_USAGE}]
HF_DETAILS = {"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 7, "prefill": [], "tokens": []}
HF_TOKENS: list[dict[str, Any]] = [
    {"index": 1, "token": {"id": 1, "text": "h", "logprob": 0.0, "special": False}, "generated_text": None},
    {
        "index": 2,
        "token": {"id": 2, "text": "i", "logprob": 0.0, "special": False},
        "generated_text": "hi",
        "details": {"finish_reason": "length", "generated_tokens": 3, "input_length": 7, "seed": None},
    },
]

METHODS = {
    "cohere-chat": Method(
        "cohere.v2.chat",
        "chat",
        lambda client: client.chat(model="m", messages=QUESTION),
        COHERE_CHAT,
        lambda client: client.chat_stream(model="m", messages=QUESTION),
        sse(COHERE_EVENTS, done=True),
        model=None,
    ),
    "cohere-v1-chat": Method(
        "cohere.chat",
        "chat",
        lambda client: client.chat(model="m", message="hi"),
        COHERE_V1,
        lambda client: client.chat_stream(model="m", message="hi"),
        lines(COHERE_V1_EVENTS),
        kind="application/stream+json",
        model=None,
        client="cohere-v1",
    ),
    "cohere-embed": Method(
        "cohere.v2.embed",
        "embeddings",
        lambda client: client.embed(model="m", texts=["a"], input_type="search_query", embedding_types=["float"]),
        COHERE_EMBEDDINGS,
        tokens=(7, None),
        model=None,
    ),
    "cohere-rerank": Method(
        "cohere.v2.rerank",
        "rerank",
        lambda client: client.rerank(model="m", query="q", documents=["a", "b"], top_n=1),
        COHERE_RERANK,
        tokens=(None, None),
        model=None,
    ),
    "ollama-chat": Method(
        "ollama.chat",
        "chat",
        lambda client: client.chat(model="m", messages=QUESTION),
        OLLAMA_CHAT,
        lambda client: client.chat(model="m", messages=QUESTION, stream=True),
        lines(OLLAMA_CHUNKS),
        kind="application/x-ndjson",
    ),
    "ollama-generate": Method(
        "ollama.generate",
        "text_completion",
        lambda client: client.generate(model="m", prompt="hi"),
        {**HEAD, "response": "hé", **OLLAMA_USAGE},
        lambda client: client.generate(model="m", prompt="hi", stream=True),
        lines(OLLAMA_PIECES),
        kind="application/x-ndjson",
    ),
    "ollama-embed": Method(
        "ollama.embed",
        "embeddings",
        lambda client: client.embed(model="m", input=["a"]),
        {"model": "m-1", "embeddings": [[0.5, 0.25]], "prompt_eval_count": 7},
        tokens=(7, None),
    ),
    "ollama-embeddings": Method(
        "ollama.embeddings",
        "embeddings",
        lambda client: client.embeddings(model="m", prompt="a"),
        {"embedding": [0.5, 0.25]},
        tokens=(None, None),
        model=None,
    ),
    "hugging_face-chat": Method(
        "hugging_face.chat_completion",
        "chat",
        lambda client: client.chat_completion(QUESTION, model="m"),
        CHAT,
        lambda client: client.chat_completion(QUESTION, model="m", stream=True),
        sse(HF_CHUNKS, done=True),
    ),
    "hugging_face-generation": Method(
        "hugging_face.text_generation",
        "text_completion",
        lambda client: client.text_generation("hi", details=True),
        [{"generated_text": "hi", "details": HF_DETAILS}],
        lambda client: client.text_generation("hi", stream=True),
        sse(HF_TOKENS),
        model=None,
        request_model=None,
    ),
    "hugging_face-features": Method(
        "hugging_face.feature_extraction",
        "embeddings",
        lambda client: client.feature_extraction("a"),
        [[0.5, 0.25]],
        tokens=(None, None),
        model=None,
        request_model=None,
    ),
    "voyage-embed": Method(
        "voyage.embed",
        "embeddings",
        lambda client: client.embed(["a"], model="m"),
        {
            "object": "list",
            "data": [{"embedding": "AAAAPwAAgD4=", "index": 0}],
            "model": "m-1",
            "usage": {"total_tokens": 7},
        },
        tokens=(7, None),
    ),
    "voyage-rerank": Method(
        "voyage.rerank",
        "rerank",
        lambda client: client.rerank("q", ["a", "b"], model="m", top_k=1),
        {
            "object": "list",
            "data": [{"relevance_score": 0.9, "index": 1}],
            "model": "m-1",
            "usage": {"total_tokens": 7},
        },
        tokens=(7, None),
    ),
}
VENDORS = tuple(dict.fromkeys(method.vendor for method in METHODS.values()))
CALLS = [
    pytest.param(name, stream, id=f"{name}-stream" if stream else name)
    for name, method in METHODS.items()
    for stream in ((False, True) if method.stream else (False,))
]
STREAMS = [name for name, method in METHODS.items() if method.stream]


def make_client(vendor: str, colour: str, url: str, headers: dict[str, str] | None = None) -> Any:
    """Return a client of a vendor that calls ``url``, with additional headers if the client can send any."""
    prefix = "" if colour == "sync" else "Async"
    if vendor.startswith("cohere"):
        return getattr(cohere, prefix + ("Client" if vendor == "cohere-v1" else "ClientV2"))("k", base_url=url)
    if vendor == "ollama":
        return getattr(ollama, f"{prefix}Client")(host=url, headers=headers)
    if vendor == "voyage":
        cls = getattr(voyageai, f"{prefix}Client")
        if "base_url" in inspect.signature(cls).parameters:
            return cls(api_key="k", base_url=url)
        voyageai.api_base = url  # which the first releases read at each call
        return cls(api_key="k")
    return getattr(huggingface_hub, f"{prefix}InferenceClient")(base_url=url, headers=headers)


async def close(client: Any) -> None:
    """Close the HTTP client behind a vendor's client, if there is one to close."""
    if hasattr(client, "_client_wrapper"):
        client = client._client_wrapper.httpx_client.httpx_client
    else:
        client = getattr(client, "_client", client)  # the first releases of Ollama's client have no method for it
    for name in ("aclose", "close"):
        if hasattr(client, name):
            await resolve(getattr(client, name)())
            return


def dump(item: Any) -> Any:
    """Return something comparable that an item holds."""
    if hasattr(item, "model_dump"):
        return item.model_dump()
    return repr(item) if hasattr(item, "tolist") else getattr(item, "__dict__", item)


async def read(result: Any) -> list[Any]:
    """Return what the caller gets: the items of a stream, or the one response."""
    if hasattr(result, "__anext__"):
        return [dump(item) async for item in result]
    return [dump(item) for item in result] if hasattr(result, "__next__") else [dump(result)]


async def only(spans: Any) -> dict[str, Any]:
    """Return the attributes of the only span, after dropped streams have ended."""
    for _ in range(3):
        gc.collect()
        await asyncio.sleep(0.002)
    assert llmtrace.flush()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})
