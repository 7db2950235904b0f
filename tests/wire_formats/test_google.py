"""Readers of Gemini's wire formats, without network, hooks or spans."""

from __future__ import annotations

from typing import Any

import pytest
from google.genai import types

from llmtrace.providers.google.embeddings import EMBED
from llmtrace.providers.google.generate import GENERATE
from llmtrace.providers.google.interactions import INTERACTIONS, RETRIEVE_INTERACTION
from llmtrace.providers.google.predict import PREDICT, PREDICT_LONG


def usage_of(*usages: Any, finished: bool = True) -> Any:
    """Return the usage of a stream of these reports."""
    assert GENERATE.accumulator is not None
    answers = GENERATE.accumulator()
    for index, usage in enumerate(usages):
        last = finished and index == len(usages) - 1
        answers.add({"candidates": [{"finishReason": "STOP"} if last else {}], "usageMetadata": usage})
    return answers.result().usage


def test_totals_include_their_parts() -> None:
    """Input includes tool tokens and output includes reasoning; each part is reported as well."""
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


def test_last_reported_count_wins() -> None:
    """The last report of each count wins, even if later chunks omit it."""
    found = usage_of(
        {"promptTokenCount": 15, "thoughtsTokenCount": 40, "candidatesTokenCount": 1},
        {"promptTokenCount": 13, "candidatesTokenCount": 8},
        {"trafficType": "ON_DEMAND"},
    )
    assert found == {"input": 13, "output": 48, "reasoning": 40}


def test_final_total_resets_omitted_counts() -> None:
    """A last chunk whose counts add up to its total sets all others to zero; a cut stream keeps every count."""
    usages = (
        {"promptTokenCount": 9, "candidatesTokenCount": 21, "thoughtsTokenCount": 35, "totalTokenCount": 65},
        {"promptTokenCount": 87, "thoughtsTokenCount": 78, "totalTokenCount": 165},
    )
    assert usage_of(*usages) == {"input": 87, "output": 78, "reasoning": 78}
    assert usage_of(*usages, finished=False) == {"input": 87, "output": 99, "reasoning": 78}


def test_missing_usage_is_none_and_zero_is_zero() -> None:
    """Without counts there is no usage; a zero stays a zero."""
    assert usage_of(None) is None
    assert usage_of({"trafficType": "ON_DEMAND"}) is None
    assert usage_of({"promptTokenCount": 0}) == {"input": 0}


@pytest.mark.parametrize(
    ("usage", "unmapped"),
    [
        ({"videoTokenCount": 4, "agentSteps": 7}, ("videoTokenCount",)),
        ({"search_count": 2, "audioSeconds": 1.5}, ("audioSeconds", "search_count")),
        ({"agentTokensDetails": [{"modality": "TEXT", "tokenCount": 3}]}, ("agentTokensDetails",)),
        ({"promptTokensDetails": [{"modality": "SMELL", "tokenCount": 3}]}, ("smell_input",)),
        (
            {
                "promptTokensDetails": [{"modality": "MODALITY_UNSPECIFIED", "tokenCount": 3}, {"tokenCount": 3}],
                "cacheTokensDetails": [{"modality": "DOCUMENT", "tokenCount": 3}],
                "agentTokensDetails": [{"modality": "TEXT", "tokenCount": 0}],
                "initialPromptTokenCount": 3,
                "videoTokenCount": 0,
                "negativeCount": -1,
                "cachedCount": True,
                "noteCount": "7",
                "totalTokenCount": 8,
            },
            (),
        ),
    ],
)
def test_unknown_billable_counts_are_named(usage: dict[str, Any], unmapped: tuple[str, ...]) -> None:
    """A positive count that may be billed and is in no table is reported by name, in streams too."""
    assert GENERATE.accumulator is not None
    stream = GENERATE.accumulator()
    stream.add({"usageMetadata": {"promptTokenCount": 8, **usage}})
    stream.add({"candidates": [{"finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": 8}})
    for response in (GENERATE.response({"usageMetadata": {"promptTokenCount": 8, **usage}}), stream.result()):
        assert response.unmapped_counts == unmapped
        assert response.usage is not None
        assert response.usage["input"] == 8


def test_sdk_objects_and_json_give_the_same_result() -> None:
    """Snake case names, enumerations and models are read like JSON."""
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
def test_traffic_types_map_to_service_tiers(traffic: str, tier: str | None, context: dict[str, str]) -> None:
    """Vertex AI's traffic types map to the tiers of the Gemini API, except provisioned throughput."""
    response = GENERATE.response({"usageMetadata": {"trafficType": traffic}})
    assert (response.service_tier, response.price_context) == (tier, context)
    assert GENERATE.response({"usageMetadata": {"serviceTier": "flex"}}).service_tier == "flex"


def test_grounding_searches_are_counted_once() -> None:
    """Each search is counted once; results from the caller's own files are not searches."""
    assert GENERATE.accumulator is not None
    answers = GENERATE.accumulator()
    for queries in (["a", "b"], ["b", "c", ""]):
        answers.add({"candidates": [{"groundingMetadata": {"webSearchQueries": queries}}]})
    assert answers.result().usage == {"grounded_prompts": 1, "web_searches": 3}
    files = {"candidates": [{"groundingMetadata": {"groundingChunks": [{"retrievedContext": {}}]}}]}
    assert GENERATE.response(files).usage is None


def test_request_parameters_use_convention_names() -> None:
    """Parameters have the names of the conventions; the thinking level is unchanged."""
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


def test_each_candidate_has_a_finish_reason() -> None:
    """There is one finish reason per candidate, in their order."""
    answer = {"candidates": [{"index": 1, "finishReason": "SAFETY"}, {"finishReason": "STOP"}]}
    assert GENERATE.response(answer).finish_reasons == ("STOP", "SAFETY")


def test_interaction_usage_is_inclusive() -> None:
    """Interactions count reasoning and tools separately; our totals include them."""
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


def test_failed_interaction_is_a_failure() -> None:
    """An error in a response of status 200 is a failure."""
    response = INTERACTIONS.response({"status": "failed", "errors": [{"code": "internal", "message": "secret"}]})
    assert (response.failed, response.error) == (True, "internal")


def test_embeddings_and_predictions_are_counted() -> None:
    """The dimension is the length of the first vector; a filtered image is not counted."""
    response = EMBED.response({"embeddings": [{"values": [0.5] * 3}], "usageMetadata": {"promptTokenCount": 4}})
    assert (response.dimensions, response.usage) == (3, {"input": 4})
    assert EMBED.request({"requests": [{"outputDimensionality": 8}]}).params == {"dimensions": 8}
    assert PREDICT.request({"instances": [{"content": "x"}]}).operation == "embeddings"
    assert PREDICT.response({"predictions": [{"raiFilteredReason": "x"}]}).usage is None


@pytest.mark.parametrize("reason", ["OTHER", "SAFETY", "JAILBREAK"])
def test_blocked_prompt_is_a_refusal(reason: str) -> None:
    """A blocked prompt is a refusal for any block reason; a response that ended for that reason is not."""
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
def test_interaction_output_type_is_first_non_text_modality(body: dict[str, Any], output: str | None) -> None:
    """The output type is the first modality other than text, in any letter case."""
    assert INTERACTIONS.request(body).output_type == output


@pytest.mark.parametrize(("error", "code"), [({"code": "overloaded"}, "overloaded"), ({}, "error")])
def test_interaction_error_event_gives_googles_code(error: dict[str, Any], code: str) -> None:
    """The error is Google's code if there is one; counts are read as usual."""
    assert RETRIEVE_INTERACTION.accumulator is not None
    events = RETRIEVE_INTERACTION.accumulator()
    for event in (
        {"event_type": None},
        {"event_type": "interaction.created", "interaction": {"id": "i", "usage": {"total_input_tokens": 3}}},
        {"event_type": "error", "error": error},
    ):
        assert not events.add(event)
    found = events.result()
    assert (found.id, found.failed, found.error, found.usage, found.complete) == ("i", True, code, {"input": 3}, False)


def test_predict_request_parameters_are_read() -> None:
    """Dimensions, sample count and seed are read; a count that is not an integer is ignored."""
    texts = [{"content": "x"}]
    assert PREDICT.request({"instances": texts, "parameters": {"outputDimensionality": 8}}).params == {"dimensions": 8}
    requested = {"parameters": {"sampleCount": 2, "seed": 5}}
    assert PREDICT.request(requested).params == PREDICT_LONG.request(requested).params == {"choice.count": 2, "seed": 5}
    assert PREDICT.request({"parameters": {"sampleCount": 1}}).params == {}
    assert (PREDICT.request(requested).output_type, PREDICT_LONG.request(requested).output_type) == ("image", "video")
    assert PREDICT_LONG.response({"name": "operations/1"}).usage is None
    counts = [{"embeddings": {"statistics": {"token_count": count}}} for count in (2.0, 1.5, True, "3", -1)]
    assert PREDICT.response({"predictions": counts}).usage == {"input": 2}
