"""OpenInference, for Phoenix: the few names it needs beside the convention's.

``llm.input_messages`` and ``llm.output_messages`` are written only for lists that Phoenix would show with holes: it
stops reading the convention's messages where it finds one key of those.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .. import names
from ..truncate import dumps
from .openinference_messages import write_messages

__all__ = ["openinference"]

_KINDS = {
    "chat": "LLM",
    "text_completion": "LLM",
    "generate_content": "LLM",
    "fetch_response": "LLM",
    "count_tokens": "LLM",
    "embeddings": "EMBEDDING",
    "retrieval": "RETRIEVER",
    "rerank": "RERANKER",
    "execute_tool": "TOOL",
    "invoke_agent": "AGENT",
    "create_agent": "AGENT",
    "invoke_workflow": "CHAIN",
    "plan": "CHAIN",
    "moderation": "GUARDRAIL",
}
_JSON = "application/json"
_TEXT = "text/plain"
_COUNTS = (
    (names.OI_REASONING, names.USAGE["reasoning"]),
    (names.OI_AUDIO_INPUT, names.USAGE["audio_input"]),
    (names.OI_AUDIO_OUTPUT, names.USAGE["audio_output"]),
)
_PARAMETERS = ((names.OI_PARAMETERS, names.REQUEST_PARAMETERS),)
_EMBEDDING_PARAMETERS = (("embedding.invocation_parameters", names.REQUEST_PARAMETERS),)
_PROMPT = ((names.OI_PROMPT_ID, names.PROMPT_NAME), (names.OI_TEMPLATE_VERSION, names.PROMPT_VERSION))


def openinference(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """What Phoenix needs beyond ``attributes``."""
    operation = attributes.get(names.OPERATION)
    kind = _KINDS.get(operation, "LLM" if names.REQUEST_MODEL in attributes else "CHAIN") if operation else None
    if kind is None:
        return {}
    found: dict[str, Any] = {names.OI_KIND: kind}
    model = attributes.get(names.RESPONSE_MODEL) or attributes.get(names.REQUEST_MODEL)
    if kind == "LLM":
        # The request's name may be an alias, which Phoenix has no price for.
        _put(found, names.OI_MODEL, model)
        _copy(attributes, _COUNTS, found)
        _copy(attributes, _PARAMETERS, found)
        _messages(attributes, found)
    elif kind == "EMBEDDING":
        _put(found, names.OI_EMBEDDING_MODEL, model)
        _copy(attributes, _EMBEDDING_PARAMETERS, found)
    _copy(attributes, _PROMPT, found)
    if kind != "LLM" or names.INPUT_MESSAGES in attributes or names.OUTPUT_MESSAGES in attributes:
        _values(attributes, kind, found)
    _metadata(attributes, found)
    if kind == "RETRIEVER":
        _documents(attributes, found)
    return found


_MARKS = ('"server_tool_call', '"file"', '"compaction"')
"""In a list of messages that may have a part which Phoenix drops."""


def _messages(attributes: Mapping[str, Any], found: dict[str, Any]) -> None:
    for prefix, name in (("llm.input_messages", names.INPUT_MESSAGES), ("llm.output_messages", names.OUTPUT_MESSAGES)):
        told = attributes.get(name)
        if not isinstance(told, str) or not any(mark in told for mark in _MARKS):
            continue
        messages = _parse_json(told)
        system = _parse_json(attributes.get(names.SYSTEM_INSTRUCTIONS)) if name == names.INPUT_MESSAGES else None
        if system and isinstance(messages, list):
            messages = [{"role": "system", "parts": system}, *messages]
        found.update(write_messages(prefix, messages))


def _copy(attributes: Mapping[str, Any], pairs: tuple[tuple[str, str], ...], found: dict[str, Any]) -> None:
    for name, source in pairs:
        if source in attributes:
            found[name] = attributes[source]


def _put(found: dict[str, Any], name: str, value: Any) -> None:
    if value is not None:
        found[name] = value


def _values(attributes: Mapping[str, Any], kind: str, found: dict[str, Any]) -> None:
    """Question and answer in one text each, for lists and session views."""
    match kind:
        case "TOOL":
            given = attributes.get(names.TOOL_ARGUMENTS), _JSON
            made = attributes.get(names.TOOL_RESULT), _JSON
        case "RETRIEVER":
            given = attributes.get(names.QUERY), _TEXT
            made = attributes.get(names.RETRIEVED), _JSON
        case "RERANKER":
            given, made = (attributes.get(names.RERANK_QUERY), _TEXT), (None, _TEXT)
        case "EMBEDDING":
            given, made = (attributes.get(f"{names.OI_EMBEDDINGS}0.embedding.text"), _TEXT), (None, _TEXT)
        case _:
            given = _last(attributes.get(names.INPUT_MESSAGES))
            made = _last(attributes.get(names.OUTPUT_MESSAGES))
    _put_value(found, names.OI_INPUT, names.OI_INPUT_TYPE, *given)
    _put_value(found, names.OI_OUTPUT, names.OI_OUTPUT_TYPE, *made)


def _put_value(found: dict[str, Any], name: str, type_name: str, value: Any, mime_type: str) -> None:
    if value and isinstance(value, str):
        found[name], found[type_name] = value, mime_type


def _last(messages: Any) -> tuple[str | None, str]:
    """The last message's text; a message without any, as JSON."""
    if messages is None:
        return None, _TEXT
    parsed = _parse_json(messages)
    if not isinstance(parsed, list) or not parsed or not isinstance(parsed[-1], dict):
        return None, _TEXT
    given = parsed[-1].get("parts")
    parts = [part for part in given if isinstance(part, dict)] if isinstance(given, list) else []
    texts = [part["content"] for part in parts if part.get("type") == "text" and isinstance(part.get("content"), str)]
    if texts:
        return "\n".join(texts), _TEXT
    return dumps(parts), _JSON


def _parse_json(value: Any) -> Any:
    try:
        return json.loads(value) if isinstance(value, str) else None
    except ValueError:
        return None


_METADATA_FIELDS = {
    names.FEATURE: "feature",
    names.TENANT: "tenant",
    names.PROMPT_NAME: "prompt_name",
    names.PROMPT_VERSION: "prompt_version",
    names.PROMPT_HASH: "prompt_hash",
    names.PROMPT_LABEL: "prompt_label",
}
"""What no column of Phoenix's shows."""


def _metadata(attributes: Mapping[str, Any], found: dict[str, Any]) -> None:
    """What Phoenix reads as one JSON object: what is in it already, and what it would not show otherwise."""
    told = {key: attributes[name] for name, key in _METADATA_FIELDS.items() if name in attributes}
    if told:
        known = _parse_json(attributes.get(names.METADATA))
        if not isinstance(known, dict):
            known = {}
        if not told.keys() <= known.keys():
            found[names.METADATA] = dumps({**told, **known})


def _documents(attributes: Mapping[str, Any], found: dict[str, Any]) -> None:
    """Documents one by one: the convention's list is dropped whole where one has no score."""
    listed = _parse_json(attributes.get(names.RETRIEVED))
    for index, document in enumerate(listed if isinstance(listed, list) else ()):
        if not isinstance(document, dict):
            continue
        prefix = f"{names.DOCUMENTS}{index}.document."
        for field in ("id", "content", "score"):
            _put(found, prefix + field, document.get(field))
        if document.get("metadata"):
            found[prefix + "metadata"] = dumps(document["metadata"])
