"""Request parameters as the caller sent them, without content and without personal identifiers."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import Any

_NOT_PARAMETERS = frozenset(
    {
        # content
        "messages", "input", "prompt", "system", "instructions", "contents", "content", "tools", "functions",
        "mcp_servers", "query", "documents", "image", "images", "mask", "file", "suffix", "prediction", "instances",
        "requests", "systemInstruction", "system_instruction", "cachedContent", "additional_instructions",
        "additional_messages", "thread", "tool_outputs", "tool_resources", "context", "schema", "json_schema",
        "responseSchema", "responseJsonSchema", "response_schema", "description", "grammar", "negative_prompt",
        "image_url", "reference_images", "url", "speculation", "texts", "inputs", "message", "chat_history",
        "preamble", "connectors", "guidelines", "template", "body", "inputText", "promptVariables", "sessionState",
        "retrieveAndGenerateConfiguration", "queries", "sources", "instruction", "actionGroups", "collaborators",
        "collaboratorConfigurations", "knowledgeBases", "customOrchestration", "inlineSessionState",
        "negativePrompt", "tool_results", "examples", "question", "sentences", "source_sentence", "document",
        "document_annotation_prompt", "title", "response_json_schema", "jsonSchema", "known_speaker_references",
        "promptCreationConfigurations", "promptOverrideConfiguration", "events", "environment",
        "properties", "required", "enum", "$defs",  # of a schema
        # identity
        "user", "user_location", "metadata", "labels", "safety_identifier", "prompt_cache_key",
        "prompt_cache_isolation_key", "container", "requestMetadata", "memoryId", "sessionId", "userContext",
        "vault_ids", "known_speaker_names", "latLng", "lat_lng", "user_id", "user_profile_id", "session_id",
        # recorded by other attributes
        "foundationModel", "rerankingConfiguration",
        "model", "modelId", "agentId", "guardrailIdentifier", "inferenceConfig", "generationConfig",
        "generation_config", "parameters", "_url", "_query", "config",
    }
)  # fmt: skip
_NESTED = ("inferenceConfig", "generationConfig", "generation_config", "parameters")
_MAX_TEXT_CHARS = 128
_MAX_ITEMS = 32
_MAX_DEPTH = 4
_SCALARS = frozenset({str, int, float, bool})
_JSON_TYPES = (str, int, float, dict, list, tuple, Enum)


def read_parameters(body: Any) -> dict[str, Any]:
    """Return a copy of the parameters in ``body``. Those of a nested configuration move to the top level."""
    if type(body) is not dict:
        return {}
    parameters = _read(body, 0)
    for name in _NESTED:
        if name in body and isinstance(nested := body[name], dict):
            parameters.update(_read(nested, 0))
    return parameters


def _read(source: dict[Any, Any], depth: int) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, value in source.items():
        kind: Any = type(value)
        if not _has_json_form(kind) or name in _NOT_PARAMETERS:
            continue
        if (copied := _copy(value, depth + 1)) is not None:
            parameters[str(name)] = copied
            if len(parameters) >= _MAX_ITEMS:
                break
    return parameters


@lru_cache(maxsize=256)
def _has_json_form(kind: type) -> bool:
    """Return true for a type with a JSON form. The marks that SDKs put in place of omitted parameters have none."""
    return issubclass(kind, _JSON_TYPES)


def _copy(value: Any, depth: int) -> Any:
    """Return a copy of ``value``, or ``None`` for a long text or a value without a JSON form."""
    if type(value) in _SCALARS:
        return None if type(value) is str and len(value) > _MAX_TEXT_CHARS else value
    if depth > _MAX_DEPTH:
        return None
    if isinstance(value, dict):
        return _read(value, depth) or None
    if isinstance(value, (list, tuple)):
        return [copied for item in value[:_MAX_ITEMS] if (copied := _copy(item, depth + 1)) is not None]
    return value.value if isinstance(value, Enum) and type(value.value) in _SCALARS else None
