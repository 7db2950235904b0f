"""What is billed and has no price of its own, and what is exact: nothing at another class's rate without a word."""

from __future__ import annotations

from typing import Any

import pytest

from llmtrace.model.wire_format import WireFormat
from llmtrace.pricing.price import Pricer
from llmtrace.providers.anthropic.messages import MESSAGES
from llmtrace.providers.google.embeddings import EMBED
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.openai.chat import CHAT
from llmtrace.providers.openai.embeddings import EMBEDDINGS
from llmtrace.providers.openai.media import IMAGES, SPEECH, TRANSCRIPTIONS
from llmtrace.providers.openai.responses import RESPONSES

OWN = {"openai": "api.openai.com", "mistral_ai": "api.mistral.ai", "gcp.gemini": "generativelanguage.googleapis.com"}


@pytest.fixture(scope="module")
def pricer() -> Pricer:
    made = Pricer()
    made.load()
    return made


def priced(pricer: Pricer, provider: str, wire: WireFormat, model: str, body: Any, host: str | None = None) -> Any:
    request = wire.request({"model": model})
    request.model = model  # Gemini's stands in the path
    return pricer.price(provider, host or OWN.get(provider), request, wire.response(body))


def usage(passed: int, made: int, **more: Any) -> dict[str, Any]:
    return {"choices": [], "usage": {"prompt_tokens": passed, "completion_tokens": made, **more}}


def grounded(model: str, **grounding: Any) -> dict[str, Any]:
    return {
        "candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP", "groundingMetadata": grounding}],
        "usageMetadata": {"promptTokenCount": 20, "candidatesTokenCount": 100, "totalTokenCount": 120},
        "modelVersion": model,
    }


MAP = {"groundingChunks": [{"maps": {"uri": "https://maps.google.com/?cid=1", "title": "Cafe"}}]}
WIDGET = {"googleMapsWidgetContextToken": "widgetcontent/x"}
SEARCH = {"webSearchQueries": ["cafe"]}
WRITES = {"cache_creation": {"ephemeral_5m_input_tokens": 10}}

UNKNOWN = grounded("gemini-2.5-flash")
UNKNOWN["usageMetadata"] = {**UNKNOWN["usageMetadata"], "agentStepCount": 3}

MARKED: dict[str, tuple[Any, ...]] = {
    # provider, API, model, answer, USD of what is priced, what is not
    "a Gemini count of an unknown name": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash", UNKNOWN, 0.000256, "agentStepCount",
    ),
    "Maps": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash", grounded("gemini-2.5-flash", **MAP), 0.000256, "maps_searches",
    ),
    "Maps by its widget": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash", grounded("gemini-2.5-flash", **WIDGET), 0.000256, "maps_searches",
    ),
    "Maps and search": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash", grounded("gemini-2.5-flash", **MAP, **SEARCH), 0.035256,
        "maps_searches",
    ),
    "Azure's model router": (
        "azure.ai.openai", CHAT, "model-router", {"model": "gpt-5-nano-2025-08-07", **usage(100_000, 10)}, 0.005004,
        "model-router",
    ),
    "Bedrock's prompt router": (
        "aws.bedrock", MESSAGES, "arn:aws:bedrock:us-east-1:1:default-prompt-router/anthropic.claude:1",
        {"model": "claude-3-5-sonnet-20240620", "usage": {"input_tokens": 1_000, "output_tokens": 100}}, 0.0045,
        "prompt-router",
    ),
    "an image through a gateway": (
        "openrouter", CHAT, "google/gemini-2.5-flash-image",
        {"model": "google/gemini-2.5-flash-image",
         **usage(10, 1_290, completion_tokens_details={"image_tokens": 1_290})},
        (10 * 0.3 + 1_290 * 2.5) / 1e6, "image_output",
    ),
    "audio through a gateway": (
        "openrouter", CHAT, "openai/gpt-audio",
        {"model": "openai/gpt-audio", **usage(100, 10, prompt_tokens_details={"audio_tokens": 90})},
        (100 * 2.5 + 10 * 10) / 1e6, "audio_input",
    ),
    "a cache without a row": (
        "openai", CHAT, "gpt-4", {"model": "gpt-4", **usage(100, 10, prompt_tokens_details={"cached_tokens": 50})},
        (100 * 30 + 10 * 60) / 1e6, "cache_read",
    ),
    "seconds without a row": (
        "openai", CHAT, "gpt-4o", {"model": "gpt-4o", **usage(100, 10, audio_seconds=3)}, (100 * 2.5 + 10 * 10) / 1e6,
        "audio_seconds",
    ),
    "a container": (
        "openai", RESPONSES, "gpt-4o",
        {
            "model": "gpt-4o", "status": "completed", "usage": {"input_tokens": 100, "output_tokens": 10},
            "output": [{"type": "shell_call", "environment": {"container_id": "c1"}}],
        },
        (100 * 2.5 + 10 * 10) / 1e6, "code_executions",
    ),
    "a count of an unknown name": (
        "openai", CHAT, "gpt-4o", {"model": "gpt-4o", **usage(100, 10, video_seconds=3)}, (100 * 2.5 + 10 * 10) / 1e6,
        "video_seconds",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(MARKED.values()), ids=list(MARKED))
def test_usage_without_a_price_is_named(pricer: Pricer, case: tuple[Any, ...]) -> None:
    """The cost is approximate and names what is excluded or billed at another rate."""
    provider, wire, model, body, usd, missing = case
    cost = priced(pricer, provider, wire, model, body)
    assert (cost.reason, cost.approximate, cost.missing) == (None, True, (missing,))
    assert cost.total == pytest.approx(usd, rel=1e-12)


EXACT: dict[str, tuple[Any, ...]] = {
    "images": (
        "openai", IMAGES, "gpt-image-2",
        {"data": [{}], "usage": {
            "input_tokens": 3_987, "output_tokens": 1_372,
            "input_tokens_details": {"text_tokens": 943, "image_tokens": 3_044},
        }},
        (943 * 5 + 3_044 * 8 + 1_372 * 30) / 1e6,
    ),
    "images under chat's names": (
        "openai", IMAGES, "gpt-image-2",
        {"data": [{}], "usage": {
            "prompt_tokens": 22, "completion_tokens": 1_372, "prompt_tokens_details": {"text_tokens": 22},
            "completion_tokens_details": {"image_tokens": 1_372},
        }},
        (22 * 5 + 1_372 * 30) / 1e6,
    ),
    "a transcription by tokens": (
        "openai", TRANSCRIPTIONS, "gpt-4o-transcribe",
        {"text": "hi", "usage": {
            "input_tokens": 29, "output_tokens": 14, "input_token_details": {"text_tokens": 1, "audio_tokens": 28},
        }},
        (2.5 + 28 * 6 + 14 * 10) / 1e6,
    ),
    "a transcription by time": ("openai", TRANSCRIPTIONS, "whisper-1", {"usage": {"seconds": 90}}, 90 * 0.36 / 3600),
    "a verbose transcript": ("openai", TRANSCRIPTIONS, "whisper-1", {"duration": 90.5}, 90.5 * 0.36 / 3600),
    "Mistral's transcription": (
        "mistral_ai", TRANSCRIPTIONS, "voxtral-mini-2602",
        {"model": "voxtral-mini-2602",
         "usage": {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3_264}},
        203 * 0.18 / 3600,
    ),
    "a Gemini embedding": (
        "gcp.gemini", EMBED, "gemini-embedding-001",
        {"embeddings": [{"values": [0.1]}], "usageMetadata": {"promptTokenCount": 7}}, 7 * 0.15 / 1e6,
    ),
    "an embedding": (
        "openai", EMBEDDINGS, "text-embedding-3-small", {"data": [], "usage": {"prompt_tokens": 9, "total_tokens": 9}},
        9 * 0.02 / 1e6,
    ),
    "Gemini's speech": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash-tts",
        {"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash-tts", "usageMetadata": {
            "promptTokenCount": 8, "candidatesTokenCount": 40, "totalTokenCount": 48,
            "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
        }},
        (8 * 0.5 + 40 * 10) / 1e6,
    ),
    "Gemini's image": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash-image",
        {"candidates": [{"finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash-image", "usageMetadata": {
            "promptTokenCount": 8, "candidatesTokenCount": 1_290, "totalTokenCount": 1_298,
            "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
        }},
        (8 * 0.3 + 1_290 * 30) / 1e6,
    ),
    "a search of Google": (
        "gcp.gemini", GENERATE, "gemini-2.5-flash", grounded("gemini-2.5-flash", **SEARCH), 0.000256 + 0.035,
    ),
    "cache writes by lifetime": (
        "anthropic", MESSAGES, "claude-sonnet-4-5",
        {"model": "claude-sonnet-4-5", "usage": {
            "input_tokens": 5, "output_tokens": 1, "cache_creation_input_tokens": 10, **WRITES,
        }},
        (5 * 3 + 10 * 3.75 + 1 * 15) / 1e6,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", list(EXACT.values()), ids=list(EXACT))
def test_correctly_priced_usage_is_not_approximate(pricer: Pricer, case: tuple[Any, ...]) -> None:
    """A response without a model name, or in one medium at the price of its model, is not approximate."""
    provider, wire, model, body, usd = case
    cost = priced(pricer, provider, wire, model, body)
    assert (cost.reason, cost.approximate, cost.missing) == (None, False, ())
    assert cost.total == pytest.approx(usd, rel=1e-12)


@pytest.mark.parametrize(
    ("provider", "host", "named"),
    [
        ("openai", "proxy.internal", None),  # whoever serves it sets the price
        ("azure.ai.openai", "x.openai.azure.com", None),  # a deployment's name is no model's
        ("openai", "api.openai.com", "somebody/else"),  # another model, whose price is not known
    ],
)
def test_price_by_the_request_alone_may_be_approximate(
    pricer: Pricer, provider: str, host: str, named: str | None
) -> None:
    """The cost is approximate if the response may come from another host or model."""
    body = {"data": [], "usage": {"prompt_tokens": 9}, **({"model": named} if named else {})}
    cost = priced(pricer, provider, EMBEDDINGS, "text-embedding-3-small", body, host)
    assert (cost.reason, cost.approximate) == (None, True)


def test_speech_by_characters_is_exact(pricer: Pricer) -> None:
    """Speech is billed by the characters of the request."""
    request = SPEECH.request({"model": "tts-1", "input": "hello"})
    answer = SPEECH.response({})
    answer.usage = {"characters": 5}
    cost = pricer.price("openai", "api.openai.com", request, answer)
    assert cost is not None
    assert (cost.approximate, cost.exact) == (False, "0.000075")


def test_free_model_is_not_approximate(pricer: Pricer) -> None:
    """Classes without a price are no reason for doubt if everything is free."""
    name = "meta-llama/llama-3.3-70b-instruct:free"
    body = {"model": name, **usage(10, 5, prompt_tokens_details={"cached_tokens": 5})}
    cost = priced(pricer, "openrouter", CHAT, name, body)
    assert (cost.exact, cost.approximate) == ("0", False)


def test_zero_cost_of_a_cut_stream_is_ignored(pricer: Pricer) -> None:
    """Servers send zero at the start of a stream: in a cut one it is not a cost."""
    request = CHAT.request({"model": "gpt-4o"})
    answer = CHAT.response({"model": "gpt-4o", **usage(10, 5, cost=0)})
    cost = pricer.price("openai", "api.openai.com", request, answer, partial=True)
    assert cost is not None
    assert cost.reason == "partial_usage"
