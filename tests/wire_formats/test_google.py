"""Reading Gemini's wire formats: no network, no patch, no span."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from llmtrace.providers.google.embeddings import EMBED
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS, RETRIEVE_INTERACTION
from llmtrace.providers.google.predict import PREDICT, PREDICT_LONG


def folded(*usages: Any, finished: bool = True) -> Any:
    """The usage a stream of these adds up to."""
    assert GENERATE.accumulator is not None
    answers = GENERATE.accumulator()
    for index, usage in enumerate(usages):
        last = finished and index == len(usages) - 1
        answers.add({"candidates": [{"finishReason": "STOP"} if last else {}], "usageMetadata": usage})
    return answers.result().usage


def test_totals_include_their_parts() -> None:
    """Input holds what tools added, output holds thoughts, and each part is beside them."""
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 60,
        "toolUsePromptTokenCount": 7,
        "candidatesTokenCount": 20,
        "thoughtsTokenCount": 30,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 90}, {"modality": "IMAGE", "tokenCount": 10}],
        "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 60}],
        "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 20}],
    }
    assert GENERATE.response({"usageMetadata": usage}).usage == {
        "input": 107,
        "output": 50,
        "cache_read": 60,
        "reasoning": 30,
        "tool_input": 7,
        "text_input": 97,
        "image_input": 10,
        "text_cache_read": 60,
        "audio_output": 20,
    }


def test_counts_that_shrink_or_vanish() -> None:
    """Of each count the last that was told wins, also when the last chunk tells it no more."""
    found = folded(
        {"promptTokenCount": 15, "thoughtsTokenCount": 40, "candidatesTokenCount": 1},
        {"promptTokenCount": 13, "candidatesTokenCount": 8},
        {"trafficType": "ON_DEMAND"},
    )
    assert found == {"input": 13, "output": 48, "reasoning": 40}


def test_a_total_denies_what_it_leaves_out() -> None:
    """A last chunk whose total is the sum of its counts has zeros for the rest; a cut stream keeps all it told."""
    usages = (
        {"promptTokenCount": 9, "candidatesTokenCount": 21, "thoughtsTokenCount": 35, "totalTokenCount": 65},
        {"promptTokenCount": 87, "thoughtsTokenCount": 78, "totalTokenCount": 165},
    )
    assert folded(*usages) == {"input": 87, "output": 78, "reasoning": 78}
    assert folded(*usages, finished=False) == {"input": 87, "output": 99, "reasoning": 78}


def test_nothing_told_is_nothing() -> None:
    """Without counts there is no usage; a zero is a zero."""
    assert folded(None) is None
    assert folded({"trafficType": "ON_DEMAND"}) is None
    assert folded({"promptTokenCount": 0}) == {"input": 0}


def test_the_sdks_own_objects_read_the_same() -> None:
    """Snake case, enumerations and models are read as the wire's JSON is."""
    wire = {
        "candidates": [{"content": {"parts": [{"text": "hi"}]}, "finishReason": "MAX_TOKENS", "index": 0}],
        "usageMetadata": {
            "promptTokenCount": 8,
            "candidatesTokenCount": 2,
        },
        "modelVersion": "m",
    }
    candidate = types.Candidate(
        content=types.Content(parts=[types.Part(text="hi")]), finish_reason=types.FinishReason.MAX_TOKENS, index=0
    )
    usage = types.GenerateContentResponseUsageMetadata(prompt_token_count=8, candidates_token_count=2)
    own = types.GenerateContentResponse(candidates=[candidate], usage_metadata=usage, model_version="m")
    assert GENERATE.response(own) == GENERATE.response(wire)


@pytest.mark.parametrize(
    ("traffic", "tier", "context"),
    [
        ("ON_DEMAND", "standard", {}),
        ("ON_DEMAND_PRIORITY", "priority", {}),
        ("ON_DEMAND_FLEX", "flex", {}),
        ("PROVISIONED_THROUGHPUT", None, {"traffic_type": "PROVISIONED_THROUGHPUT"}),
    ],
)
def test_tiers(traffic: str, tier: str | None, context: dict[str, str]) -> None:
    """Vertex AI's kinds of traffic are the tiers of the Gemini API, but for what is paid in advance."""
    response = GENERATE.response({"usageMetadata": {"trafficType": traffic}})
    assert (response.service_tier, response.price_context) == (tier, context)
    assert GENERATE.response({"usageMetadata": {"serviceTier": "flex"}}).service_tier == "flex"


def test_grounding() -> None:
    """Searches are counted once each; what the caller's own files answered is no search."""
    assert GENERATE.accumulator is not None
    answers = GENERATE.accumulator()
    for queries in (["a", "b"], ["b", "c", ""]):
        answers.add({"candidates": [{"groundingMetadata": {"webSearchQueries": queries}}]})
    assert answers.result().usage == {"grounded_prompts": 1, "web_searches": 3}
    files = {"candidates": [{"groundingMetadata": {"groundingChunks": [{"retrievedContext": {}}]}}]}
    assert GENERATE.response(files).usage is None


def test_request() -> None:
    """Parameters have the convention's names; the level of thinking is verbatim."""
    request = GENERATE.request(
        {
            "generationConfig": {
                "temperature": 0,
                "topP": 0.5,
                "topK": 40.0,
                "maxOutputTokens": 9,
                "stopSequences": ["x"],
                "candidateCount": 2,
                "thinkingConfig": {"thinkingLevel": "LOW"},
                "responseModalities": ["TEXT", "IMAGE"],
            },
            "serviceTier": "flex",
        }
    )
    assert request.params == {
        "temperature": 0,
        "top_p": 0.5,
        "top_k": 40,
        "max_tokens": 9,
        "stop_sequences": ["x"],
        "choice.count": 2,
        "reasoning.level": "LOW",
    }
    assert (request.output_type, request.service_tier) == ("image", "flex")


def test_several_candidates() -> None:
    """There is one finish reason for each, in their order."""
    answer = {"candidates": [{"index": 1, "finishReason": "SAFETY"}, {"finishReason": "STOP"}]}
    assert GENERATE.response(answer).finish_reasons == ("STOP", "SAFETY")


def test_interaction_usage() -> None:
    """Interactions count thoughts and tools apart; ours are in the totals."""
    usage = {
        "total_input_tokens": 10,
        "total_tool_use_tokens": 5,
        "total_output_tokens": 3,
        "total_thought_tokens": 4,
        "total_cached_tokens": 2,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 10}],
        "grounding_tool_count": [{"type": "google_search", "count": 2}, {"type": "google_maps", "count": 1}],
    }
    assert INTERACTIONS.response({"status": "completed", "usage": usage}).usage == {
        "input": 15,
        "output": 7,
        "cache_read": 2,
        "reasoning": 4,
        "tool_input": 5,
        "text_input": 10,
        "web_searches": 2,
        "grounded_prompts": 1,
        "maps_searches": 1,
    }


def test_failed_interaction() -> None:
    """A failure told in an answer that arrived is a failure."""
    response = INTERACTIONS.response({"status": "failed", "errors": [{"code": "internal", "message": "secret"}]})
    assert (response.failed, response.error) == (True, "internal")


def test_embeddings_and_predictions() -> None:
    """The first vector's length is the dimension; a filtered image is not made."""
    response = EMBED.response({"embeddings": [{"values": [0.5] * 3}], "usageMetadata": {"promptTokenCount": 4}})
    assert (response.dimensions, response.usage) == (3, {"input": 4})
    assert EMBED.request({"requests": [{"outputDimensionality": 8}]}).params == {"dimensions": 8}
    assert PREDICT.request({"instances": [{"content": "x"}]}).operation == "embeddings"
    assert PREDICT.response({"predictions": [{"raiFilteredReason": "x"}]}).usage is None


@pytest.mark.parametrize("reason", ["OTHER", "SAFETY", "JAILBREAK"])
def test_blocked_prompt_is_a_refusal(reason: str) -> None:
    """A prompt that was blocked was refused, whatever the reason given; an answer that ended so was not."""
    blocked = GENERATE.response({"promptFeedback": {"blockReason": reason}})
    assert (blocked.refused, blocked.finish_reasons) == (True, (reason,))
    assert not GENERATE.response({"candidates": [{"finishReason": "OTHER"}]}).refused


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ({"response_mime_type": "application/json"}, "json"),
        ({"response_modalities": [3, "TEXT", "AUDIO"]}, "speech"),
        ({"response_modalities": ["text"]}, None),
    ],
)
def test_what_an_interaction_is_to_answer_in(body: dict[str, Any], output: str | None) -> None:
    """The first modality that is not text, in any case."""
    assert INTERACTIONS.request(body).output_type == output


@pytest.mark.parametrize(("error", "told"), [({"code": "overloaded"}, "overloaded"), ({}, "error")])
def test_error_event_of_an_interaction(error: dict[str, Any], told: str) -> None:
    """It says what failed, in Google's word where there is one; counts are read as they are reported."""
    assert RETRIEVE_INTERACTION.accumulator is not None
    events = RETRIEVE_INTERACTION.accumulator()
    for event in (
        {"event_type": None},
        {"event_type": "interaction.created", "interaction": {"id": "i", "usage": {"total_input_tokens": 3}}},
        {"event_type": "error", "error": error},
    ):
        assert not events.add(event)
    found = events.result()
    assert (found.id, found.failed, found.error, found.usage, found.complete) == ("i", True, told, {"input": 3}, False)


def test_requests_of_predict() -> None:
    """Size of a vector, number and seed of pictures; a count that is no whole number is none."""
    texts = [{"content": "x"}]
    assert PREDICT.request({"instances": texts, "parameters": {"outputDimensionality": 8}}).params == {"dimensions": 8}
    asked = {"parameters": {"sampleCount": 2, "seed": 5}}
    assert PREDICT.request(asked).params == PREDICT_LONG.request(asked).params == {"choice.count": 2, "seed": 5}
    assert PREDICT.request({"parameters": {"sampleCount": 1}}).params == {}
    assert (PREDICT.request(asked).output_type, PREDICT_LONG.request(asked).output_type) == ("image", "video")
    assert PREDICT_LONG.response({"name": "operations/1"}).usage is None
    counts = [{"embeddings": {"statistics": {"token_count": count}}} for count in (2.0, 1.5, True, "3", -1)]
    assert PREDICT.response({"predictions": counts}).usage == {"input": 2}
