"""Bridge for OpenInference: the names that Phoenix needs in addition to those of the convention.

``llm.input_messages`` and ``llm.output_messages`` are written only if Phoenix would drop parts of the convention's
messages, because Phoenix ignores those messages as soon as one key of its own list is present.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..._read import put
from .. import names
from ..truncate import dumps

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
_PROMPT = {names.OI_PROMPT_ID: names.PROMPT_NAME, names.OI_TEMPLATE_VERSION: names.PROMPT_VERSION}
_COPIES: dict[str, dict[str, str]] = {
    "LLM": {
        **_PROMPT,
        names.OI_REASONING: names.USAGE["reasoning"],
        names.OI_AUDIO_INPUT: names.USAGE["audio_input"],
        names.OI_AUDIO_OUTPUT: names.USAGE["audio_output"],
        names.OI_PARAMETERS: names.REQUEST_PARAMETERS,
    },
    "EMBEDDING": {**_PROMPT, "embedding.invocation_parameters": names.REQUEST_PARAMETERS},
}
"""Attributes that are copied under another name, by the kind of the span."""
_MODELS = {"LLM": names.OI_MODEL, "EMBEDDING": names.OI_EMBEDDING_MODEL}


def openinference(attributes: Mapping[str, Any], started: int) -> dict[str, Any]:
    """Return the attributes that Phoenix needs in addition to ``attributes``."""
    operation = names.operation_of(attributes)
    kind = _KINDS.get(operation, "LLM" if names.REQUEST_MODEL in attributes else "CHAIN") if operation else None
    if kind is None:
        return {}
    added: dict[str, Any] = {names.OI_KIND: kind}
    if kind in _MODELS:
        # Prefer the model of the response: that of the request may be an alias, which Phoenix cannot price.
        model = attributes.get(names.RESPONSE_MODEL) or attributes.get(names.REQUEST_MODEL)
        if model is not None:
            added[_MODELS[kind]] = model
    if kind == "LLM":
        _add_messages(attributes, added)
    for name, source in _COPIES.get(kind, _PROMPT).items():
        if source in attributes:
            added[name] = attributes[source]
    if kind != "LLM" or names.INPUT_MESSAGES in attributes or names.OUTPUT_MESSAGES in attributes:
        _add_values(attributes, kind, added)
    _add_metadata(attributes, added)
    if kind == "RETRIEVER":
        _add_documents(attributes, added)
    return added


def _add_messages(attributes: Mapping[str, Any], added: dict[str, Any]) -> None:
    for prefix, name in (("llm.input_messages", names.INPUT_MESSAGES), ("llm.output_messages", names.OUTPUT_MESSAGES)):
        encoded = attributes.get(name)
        if not isinstance(encoded, str) or not (
            '"server_tool_call' in encoded or '"file"' in encoded or '"compaction"' in encoded
        ):
            continue  # Phoenix drops no part of these messages
        messages = _parse_json(encoded)
        system = _parse_json(attributes.get(names.SYSTEM_INSTRUCTIONS)) if name == names.INPUT_MESSAGES else None
        if system and isinstance(messages, list):
            messages = [{"role": "system", "parts": system}, *messages]
        added.update(write_messages(prefix, messages))


_VALUES = {
    "TOOL": ((names.TOOL_ARGUMENTS, _JSON), (names.TOOL_RESULT, _JSON)),
    "RETRIEVER": ((names.QUERY, _TEXT), (names.RETRIEVED, _JSON)),
    "RERANKER": ((names.RERANK_QUERY, _TEXT),),
    "EMBEDDING": ((f"{names.OI_EMBEDDINGS}0.embedding.text", _TEXT),),
}
"""Attributes with the input and the output, and their MIME types, by the kind of the span."""
_PLACES = (names.OI_INPUT, names.OI_INPUT_TYPE), (names.OI_OUTPUT, names.OI_OUTPUT_TYPE)


def _add_values(attributes: Mapping[str, Any], kind: str, added: dict[str, Any]) -> None:
    """Add input and output as one text each, which Phoenix shows in lists and session views."""
    if kind in _VALUES:
        values: Any = [(attributes.get(source), mime_type) for source, mime_type in _VALUES[kind]]
    else:
        values = map(_last_text, (attributes.get(names.INPUT_MESSAGES), attributes.get(names.OUTPUT_MESSAGES)))
    for (name, type_name), (value, mime_type) in zip(_PLACES, values, strict=False):
        if value and isinstance(value, str):
            added[name], added[type_name] = value, mime_type


def _last_text(messages: Any) -> tuple[str | None, str]:
    """Return the text of the last message and its MIME type; JSON of the parts if it has no text."""
    parsed = _parse_json(messages)
    if not isinstance(parsed, list) or not parsed or not isinstance(parsed[-1], dict):
        return None, _TEXT
    raw_parts = parsed[-1].get("parts")
    parts = [part for part in raw_parts if isinstance(part, dict)] if isinstance(raw_parts, list) else []
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
"""Attributes that Phoenix shows only as metadata."""


def _add_metadata(attributes: Mapping[str, Any], added: dict[str, Any]) -> None:
    """Add the metadata that Phoenix reads as one JSON object, completed with attributes that it shows nowhere else."""
    extra = {key: attributes[name] for name, key in _METADATA_FIELDS.items() if name in attributes}
    if extra:
        existing = _parse_json(attributes.get(names.METADATA))
        if not isinstance(existing, dict):
            existing = {}
        if not extra.keys() <= existing.keys():
            added[names.METADATA] = dumps({**extra, **existing})


def _add_documents(attributes: Mapping[str, Any], added: dict[str, Any]) -> None:
    """Add documents under numbered names: Phoenix drops the convention's complete list if one has no score."""
    ids = attributes.get(names.DOCUMENT_IDS)
    if ids and f"{names.DOCUMENTS}{len(ids) - 1}.document.id" in attributes:
        return  # all are written
    documents = _parse_json(attributes.get(names.RETRIEVED))
    for index, document in enumerate(documents if isinstance(documents, list) else ()):
        if not isinstance(document, dict):
            continue
        prefix = f"{names.DOCUMENTS}{index}.document."
        put(added, {prefix + field: document.get(field) for field in ("id", "content", "score")})
        if document.get("metadata"):
            added[prefix + "metadata"] = dumps(document["metadata"])


_PARTS_DROPPED_BY_PHOENIX = frozenset({"server_tool_call", "server_tool_call_response", "file", "compaction"})
_MAX_ATTRIBUTES = 64


def write_messages(prefix: str, messages: Any) -> dict[str, Any]:
    """Return the attributes of a list of messages, under names that begin with ``prefix``.

    There are none if Phoenix converts all parts itself, or if there would be too many.
    """
    if not isinstance(messages, list) or not any(
        part.get("type") in _PARTS_DROPPED_BY_PHOENIX for message in messages for part in _parts(message)
    ):
        return {}
    attributes: dict[str, Any] = {}
    for index, message in enumerate(messages):
        _write(f"{prefix}.{index}.message.", message, attributes)
        if len(attributes) > _MAX_ATTRIBUTES:
            return {}
    return attributes


def _parts(message: Any) -> Iterator[dict[str, Any]]:
    parts = message.get("parts") if isinstance(message, dict) else None
    return (part for part in parts if isinstance(part, dict)) if isinstance(parts, list) else iter(())


def _write(prefix: str, message: Any, attributes: dict[str, Any]) -> None:
    attributes[f"{prefix}role"] = message.get("role", "user") if isinstance(message, dict) else "user"
    contents = calls = 0
    for part in _parts(message):
        if part.get("type") == "tool_call_response":
            attributes[f"{prefix}content"] = _text(part.get("response"))
            put(attributes, {f"{prefix}tool_call_id": _identifier(part)})
        elif (call := _call(part)) is not None:
            name = f"{prefix}tool_calls.{calls}.tool_call."
            put(attributes, {f"{name}id": _identifier(part)})
            attributes[f"{name}function.name"], attributes[f"{name}function.arguments"] = call
            calls += 1
        elif (content := _content(part)) is not None:
            name = f"{prefix}contents.{contents}.message_content."
            attributes.update({name + key: value for key, value in content.items()})
            contents += 1


def _identifier(part: dict[str, Any]) -> str | None:
    identifier = part.get("id")
    return identifier if isinstance(identifier, str) else None


def _call(part: dict[str, Any]) -> tuple[str, str] | None:
    match part.get("type"):
        case "tool_call":
            return str(part.get("name")), _text(part.get("arguments"))
        case "server_tool_call":
            details = part.get("server_tool_call")
            arguments = details.get("input", details) if isinstance(details, dict) else details
            return str(part.get("name")), _text(arguments)
        case _:
            return None


def _content(part: dict[str, Any]) -> dict[str, Any] | None:
    match part.get("type"):
        case "text" | "reasoning" | "compaction":
            return {"type": "text", "text": _text(part.get("content"))}
        case "uri" if part.get("modality") == "image":
            return {"type": "image", "image.image.url": _text(part.get("uri"))}
        case "blob" if part.get("modality") == "image" and part.get("content"):
            url = f"data:{part.get('mime_type') or 'image/png'};base64,{part['content']}"
            return {"type": "image", "image.image.url": url}
        case "file":
            return {"type": "text", "text": f"[{part.get('modality') or 'document'} file {part.get('file_id')}]"}
        case "server_tool_call_response":
            details = part.get("server_tool_call_response")
            result = details.get("content", details) if isinstance(details, dict) else details
            return {"type": "text", "text": _text(result)}
        case _:
            return {"type": "text", "text": dumps(part)}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else dumps(value)
