"""Gemini interactions: how to read a request, an answer, and a stream of events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .._read import each, peek, pick, text, whole
from ..facts import Counts, Request, Response
from ._errors import read_error
from ._format import WireFormat
from .google_interactions_content import INTERACTIONS_CONTENT, RETRIEVE_CONTENT

__all__ = ["INTERACTIONS", "RETRIEVE"]

_PARAMS = frozenset({"temperature", "top_p", "seed", "stop_sequences"})
_MEDIA = {"audio": "speech", "image": "image", "video": "video"}


def read_request(body: Any) -> Request:
    config = peek(body, "generation_config")
    params = pick(config, _PARAMS)
    limit = whole(config, "max_output_tokens")
    if limit is not None:
        params["max_tokens"] = limit
    level = text(config, "thinking_level")
    if level is not None:
        params["reasoning.level"] = level
    return Request(
        operation="generate_content",
        model=text(body, "model"),
        stream=peek(body, "stream") is True,
        params=params,
        output_type=_output_type(body),
        service_tier=text(body, "service_tier"),
        previous_response_id=text(body, "previous_interaction_id"),
        # Agents run in the background only.
        background=peek(body, "background") is True or peek(body, "agent") is not None,
    )


def _output_type(body: Any) -> str | None:
    if peek(body, "response_mime_type") == "application/json":
        return "json"
    for modality in each(body, "response_modalities"):
        media = _MEDIA.get(modality.lower()) if isinstance(modality, str) else None
        if media is not None:
            return media
    return None


_TOTALS = {
    "total_input_tokens": "input",
    "total_output_tokens": "output",
    "total_cached_tokens": "cache_read",
    "total_thought_tokens": "reasoning",
    "total_tool_use_tokens": "tool_input",
}
_PARTS = (
    ("input_tokens_by_modality", "_input"),
    ("tool_use_tokens_by_modality", "_input"),
    ("output_tokens_by_modality", "_output"),
    ("cached_tokens_by_modality", "_cache_read"),
)
_FIELDS = frozenset(
    {"document_input"}
    | {
        modality + ending
        for modality in ("text", "image", "audio", "video")
        for ending in ("_input", "_output", "_cache_read")
    }
)


def read_usage(usage: Any) -> Counts | None:
    found: Counts = {}
    for name, field in _TOTALS.items():
        count = whole(usage, name)
        if count is not None:
            found[field] = count
    # Google counts what its own tools read, and what the model thought, apart from input and output.
    if "tool_input" in found:
        found["input"] = found.get("input", 0) + found["tool_input"]
    if "reasoning" in found:
        found["output"] = found.get("output", 0) + found["reasoning"]
    for name, ending in _PARTS:
        for part in each(usage, name):
            field, count = (text(part, "modality") or "").lower() + ending, whole(part, "tokens")
            if count is not None and field in _FIELDS:
                found[field] = found.get(field, 0) + count
    for tool in each(usage, "grounding_tool_count"):
        if text(tool, "type") == "google_search" and (count := whole(tool, "count")):
            found["web_searches"] = count
            found["grounded_prompts"] = 1
    return found or None


_UNFINISHED = ("in_progress", "queued")


def read_response(answer: Any) -> Response:
    status = text(answer, "status")
    failed = status == "failed"
    return Response(
        id=text(answer, "id"),
        model=text(answer, "model"),
        finish_reasons=(status,) if status is not None and status not in _UNFINISHED else (),
        usage=read_usage(peek(answer, "usage")),
        service_tier=text(answer, "service_tier"),
        status=status,
        error=(text(next(each(answer, "errors"), None), "code") or "error") if failed else None,
        failed=failed,
        background=peek(answer, "background") is True,
    )


class Events:
    """Folds interaction events; those of the life cycle carry the whole interaction so far."""

    __slots__ = ("_answer", "_end", "_error", "_spoke", "_usage")

    def __init__(self) -> None:
        self._answer: Any = None
        self._usage: Counts = {}
        self._end = False
        self._error: str | None = None
        self._spoke = False

    def add(self, event: Any) -> bool:
        kind = peek(event, "event_type")
        if not isinstance(kind, str):
            self._error = read_error(event) or self._error
            return self._spoke
        if kind.endswith(".delta"):
            # A thought's signature is nothing anybody reads.
            self._spoke = self._spoke or text(peek(event, "delta"), "type") != "thought_signature"
        elif kind.startswith("interaction.") and (answer := peek(event, "interaction")) is not None:
            self._answer = answer
            self._end = kind in ("interaction.completed", "interaction.complete")
            self._keep(peek(answer, "usage"))
        elif kind == "error":
            self._error = read_error(event) or "error"
        self._keep(peek(peek(event, "metadata"), "usage"))
        return self._spoke

    def _keep(self, usage: Any) -> None:
        if usage is not None:
            self._usage.update(read_usage(usage) or {})

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        answer = read_response(self._answer)
        return replace(
            answer,
            usage=self._usage or None,
            error=answer.error or self._error,
            failed=answer.failed or self._error is not None,
            complete=self._end,
        )


def read_retrieve(body: Any) -> Request:
    return Request(operation="fetch_response", background=True)


INTERACTIONS = WireFormat(request=read_request, response=read_response, events=Events, content=INTERACTIONS_CONTENT)
RETRIEVE = WireFormat(request=read_retrieve, response=read_response, events=Events, content=RETRIEVE_CONTENT)
