"""Gemini interactions: readers of requests, responses and stream events."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._read import get, get_count, get_text, iter_list, select
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._texts import interaction_texts
from .._usage import Reported
from .interactions_content import INTERACTIONS_CONTENT, RETRIEVE_INTERACTION_CONTENT

__all__ = ["INTERACTIONS", "RETRIEVE_INTERACTION"]

_PARAMS = frozenset({"temperature", "top_p", "seed", "stop_sequences"})
_MEDIA = {"audio": "speech", "image": "image", "video": "video"}


def read_request(body: Any) -> Request:
    config = get(body, "generation_config")
    params = select(config, _PARAMS)
    limit = get_count(config, "max_output_tokens")
    if limit is not None:
        params["max_tokens"] = limit
    level = get_text(config, "thinking_level")
    if level is not None:
        params["reasoning.level"] = level
    return Request(
        operation="generate_content",
        model=get_text(body, "model"),
        stream=get(body, "stream") is True,
        params=params,
        output_type=_output_type(body),
        service_tier=get_text(body, "service_tier"),
        previous_response_id=get_text(body, "previous_interaction_id"),
        # Agents run in the background only.
        background=get(body, "background") is True or get(body, "agent") is not None,
    )


def _output_type(body: Any) -> str | None:
    if get(body, "response_mime_type") == "application/json":
        return "json"
    for modality in iter_list(body, "response_modalities"):
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


_SEARCHES = {"google_search": "web_searches", "google_maps": "maps_searches", "file_search": None, "url_context": None}


def _add_report(usage: Any, reported: Reported) -> None:
    """Merge one report of the usage."""
    if usage is None:
        return
    counts: Counts = {}
    for name, field in _TOTALS.items():
        count = get_count(usage, name)
        if count is not None:
            counts[field] = count
    for name, ending in _PARTS:
        parts: Counts = {}
        for part in iter_list(usage, name):
            field, count = (get_text(part, "modality") or "").lower() + ending, get_count(part, "tokens")
            if count is not None and field in _FIELDS:
                parts[field] = parts.get(field, 0) + count
        # Keep the name in the key: tokens that tools read are counted separately from the input.
        counts.update({f"{name}:{field}": tokens for field, tokens in parts.items()})
    for tool in iter_list(usage, "grounding_tool_count"):
        kind, count = get_text(tool, "type") or "tools", get_count(tool, "count")
        if count:
            unit = _SEARCHES.get(kind, "")
            if unit:
                counts[unit] = count
            elif unit is not None:
                reported.unread[kind] = None
    reported.add_counts(counts)


def _totals(reported: Reported) -> Counts | None:
    """Return inclusive counts: Google counts the input of its own tools and reasoning separately."""
    counts: Counts = {}
    for name, count in reported.counts.items():
        field = name.rpartition(":")[2]
        counts[field] = counts.get(field, 0) + count
    if "tool_input" in counts:
        counts["input"] = counts.get("input", 0) + counts["tool_input"]
    if "reasoning" in counts:
        counts["output"] = counts.get("output", 0) + counts["reasoning"]
    if counts.get("web_searches"):
        counts["grounded_prompts"] = 1
    if counts.get("maps_searches"):
        counts["maps_searches"] = 1
    return counts or None


_UNFINISHED = ("in_progress", "queued")


def read_response(response: Any) -> Response:
    reported = Reported()
    _add_report(get(response, "usage"), reported)
    return _read(response, reported)


def _read(response: Any, reported: Reported) -> Response:
    status = get_text(response, "status")
    failed = status == "failed"
    result = Response(
        id=get_text(response, "id"),
        model=get_text(response, "model"),
        finish_reasons=(status,) if status is not None and status not in _UNFINISHED else (),
        service_tier=get_text(response, "service_tier"),
        status=status,
        error=(get_text(next(iter_list(response, "errors"), None), "code") or "error") if failed else None,
        failed=failed,
        background=get(response, "background") is True,
    )
    return reported.fill(result, _totals(reported))


class InteractionAccumulator:
    """Accumulator of interaction events; life-cycle events carry the complete interaction so far."""

    __slots__ = ("_end", "_error", "_interaction", "_reported", "_saw_content")

    def __init__(self) -> None:
        self._interaction: Any = None
        self._reported = Reported()
        self._end = False
        self._error: str | None = None
        self._saw_content = False

    def add(self, event: Any) -> bool:
        kind = get(event, "event_type")
        if not isinstance(kind, str):
            self._error = read_error(event) or self._error
            return self._saw_content
        if kind.endswith(".delta"):
            # Skip signatures of thoughts, which are not text.
            self._saw_content = self._saw_content or get_text(get(event, "delta"), "type") != "thought_signature"
        elif kind.startswith("interaction.") and (interaction := get(event, "interaction")) is not None:
            self._interaction = interaction
            self._end = kind in ("interaction.completed", "interaction.complete")
            _add_report(get(interaction, "usage"), self._reported)
        elif kind == "error":
            self._error = read_error(event) or "error"
        _add_report(get(get(event, "metadata"), "usage"), self._reported)
        return self._saw_content

    @property
    def ended(self) -> bool:
        return self._end

    def result(self) -> Response:
        response = _read(self._interaction, self._reported)
        return replace(
            response,
            error=response.error or self._error,
            failed=response.failed or self._error is not None,
            complete=self._end,
        )


def read_retrieve(body: Any) -> Request:
    return Request(operation="fetch_response", background=True)


INTERACTIONS = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=InteractionAccumulator,
    content=INTERACTIONS_CONTENT,
    texts=interaction_texts,
)
RETRIEVE_INTERACTION = WireFormat(
    request=read_retrieve,
    response=read_response,
    accumulator=InteractionAccumulator,
    content=RETRIEVE_INTERACTION_CONTENT,
)
