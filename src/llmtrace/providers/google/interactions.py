"""Gemini interactions: readers of requests, responses and stream events."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from ..._read import get, get_count, get_text, iter_list, put, select
from ...capture.error_body import read_error
from ...model import Counts, Message, Request, RequestContent, Response
from ...model.content_format import ContentFormat
from ...model.wire_format import WireFormat
from .._common import no_content, read_fetch
from .._messages import (
    append_turn,
    data_part,
    function_tool,
    iter_items,
    parse_arguments,
    read_parts,
    reasoning_part,
    server_tool_call_part,
    server_tool_result_part,
    text_part,
    text_parts,
    to_json,
    tool_call_part,
    tool_result_part,
)
from .._texts import interaction_texts
from .._usage import Reported
from .generate import MODALITY_FIELDS

__all__ = ["INTERACTIONS", "RETRIEVE_INTERACTION"]

_PARAMS = frozenset({"temperature", "top_p", "seed", "stop_sequences"})
_MEDIA = {"audio": "speech", "image": "image", "video": "video"}


def read_request(body: Any) -> Request:
    config = get(body, "generation_config")
    params, level = select(config, _PARAMS), get_text(config, "thinking_level")
    put(params, {"max_tokens": get_count(config, "max_output_tokens"), "reasoning.level": level})
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
_SEARCHES = {"google_search": "web_searches", "google_maps": "maps_searches", "file_search": None, "url_context": None}


def _add_report(usage: Any, reported: Reported) -> None:
    """Merge one report of the usage."""
    if usage is None:
        return
    counts: Counts = {}
    put(counts, {total: get_count(usage, name) for name, total in _TOTALS.items()})
    for name, ending in _PARTS:
        parts: Counts = {}
        for part in iter_list(usage, name):
            key, count = (get_text(part, "modality") or "").lower() + ending, get_count(part, "tokens")
            if count is not None and key in MODALITY_FIELDS:
                parts[key] = parts.get(key, 0) + count
        # Keep the name in the key: tokens that tools read are counted separately from the input.
        counts.update({f"{name}:{key}": tokens for key, tokens in parts.items()})
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
        key = name.rpartition(":")[2]
        counts[key] = counts.get(key, 0) + count
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


def read_response(response: Any, reported: Reported | None = None) -> Response:
    if reported is None:
        _add_report(get(response, "usage"), reported := Reported())
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


@dataclass(slots=True, eq=False)
class InteractionAccumulator:
    """Accumulator of interaction events; life-cycle events carry the complete interaction so far."""

    _interaction: Any = None
    _reported: Reported = field(default_factory=Reported)
    _error: str | None = None
    _saw_content: bool = False
    ended: bool = False

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
            self.ended = kind in ("interaction.completed", "interaction.complete")
            _add_report(get(interaction, "usage"), self._reported)
        elif kind == "error":
            self._error = read_error(event) or "error"
        _add_report(get(get(event, "metadata"), "usage"), self._reported)
        return self._saw_content

    def result(self) -> Response:
        response = read_response(self._interaction, self._reported)
        response.error, response.failed = response.error or self._error, response.failed or self._error is not None
        response.complete = self.ended
        return response


_CONTENT_KINDS = ("image", "audio", "video", "document")


def read_content(body: Any) -> RequestContent:
    request = RequestContent(system=text_parts(body, "system_instruction"))
    value = get(body, "input")
    if isinstance(value, str):
        request.messages.append({"role": "user", "parts": [text_part(value)]})
    elif get_text(value, "type") is not None:
        _add(request.messages, value)
    else:
        for item in iter_items(body, "input", request):
            _add(request.messages, item)
    for tool in iter_items(body, "tools", request):
        kind = get_text(tool, "type") or "unknown"
        request.tools.append(function_tool(tool, "parameters") if kind == "function" else {"type": kind, "name": kind})
    return request


def _add(messages: list[Message], item: Any) -> None:
    """Add a step, or a piece of content, which belongs to the user."""
    if isinstance(item, str):
        append_turn(messages, "user", [text_part(item)])
        return
    kind = get_text(item, "type")
    if (role := get_text(item, "role")) is not None:  # a turn, as older releases send it
        append_turn(messages, "assistant" if role == "model" else role, _contents(item))
    elif kind == "user_input":
        messages.append({"role": "user", "parts": _contents(item)})
    elif kind == "function_result":
        messages.append({"role": "tool", "parts": _step(item)})
    elif kind is not None:
        part = _content(item)
        append_turn(messages, "assistant" if part is None else "user", _step(item) if part is None else [part])


def _contents(item: Any) -> list[Any]:
    return read_parts(item, "content", _content)


def _content(item: Any) -> Any:
    kind = get_text(item, "type")
    if kind == "text":
        text = get_text(item, "text")
        return text_part(text) if text else None
    if kind not in _CONTENT_KINDS:
        return None
    return data_part(kind, get_text(item, "mime_type"), get(item, "data"), get_text(item, "uri"))


def _step(step: Any) -> list[Any]:
    """Return the parts of one step of the user, the model or a tool."""
    kind = get_text(step, "type") or ""
    if kind == "thought":
        thoughts = [get_text(thought, "text") or "" for thought in iter_items(step, "summary")]
        return [reasoning_part("".join(thoughts))] if any(thoughts) else []
    if kind == "model_output":
        return _contents(step)
    if kind == "function_call":
        arguments = parse_arguments(get(step, "arguments")) or {}
        return [tool_call_part(get_text(step, "id"), get_text(step, "name"), arguments)]
    if kind == "function_result":
        return [tool_result_part(get_text(step, "call_id"), to_json(get(step, "result")))]
    name, _, role = kind.rpartition("_")
    if role == "call":
        return [server_tool_call_part(get_text(step, "id"), name, name, _details(step, "arguments"))]
    if role == "result":
        return [server_tool_result_part(get_text(step, "call_id"), name, _details(step, "result"))]
    return []


def _details(step: Any, name: str) -> dict[str, Any]:
    value = get(step, name)
    return {} if value is None else {name: to_json(value)}


def read_output(response: Any) -> list[Message]:
    steps = iter_items(response, "steps")
    if get(response, "steps") is None:
        steps = iter_items(response, "outputs")  # the name in older releases
    parts = [part for step in steps for part in (_step(step) or [_content(step)]) if part is not None]
    return [{"role": "assistant", "parts": parts, "finish_reason": get_text(response, "status")}] if parts else []


class InteractionContentAccumulator:
    """Accumulator of the steps of a stream, each of which starts, grows and stops."""

    def __init__(self) -> None:
        self._steps: defaultdict[int, dict[str, Any]] = defaultdict(dict)
        self._pieces: defaultdict[int, list[str]] = defaultdict(list)
        self._status: str | None = None

    def add(self, event: Any) -> None:
        kind, index = get_text(event, "event_type") or "", get_count(event, "index") or 0
        if kind.endswith(".start"):
            step = get(event, "step") or get(event, "content")
            self._steps[index].update(to_json(step) if step is not None else {})
        elif kind.endswith(".delta"):
            self._grow(self._steps[index], get(event, "delta"), self._pieces[index])
        elif kind in ("interaction.completed", "interaction.complete"):
            self._status = get_text(get(event, "interaction"), "status")

    def _grow(self, step: dict[str, Any], delta: Any, pieces: list[str]) -> None:
        kind = get_text(delta, "type") or ""
        if kind == "text":
            pieces.append(get_text(delta, "text") or "")
        elif kind == "thought_summary":
            pieces.append(get_text(get(delta, "content"), "text") or "")
        elif kind == "arguments_delta":
            pieces.append(get_text(delta, "arguments") or "")
        elif kind in _CONTENT_KINDS:
            step.setdefault("media", []).append(to_json(delta))
        elif kind.endswith(("_call", "_result")):
            step.update(to_json(delta))

    def messages(self) -> list[Message]:
        parts: list[Any] = []
        for index in sorted(self._steps):
            step, text = self._steps[index], "".join(self._pieces.get(index, ()))
            kind = step.get("type")
            if text and kind == "thought":
                parts.append(reasoning_part(text))
            elif text and kind == "function_call":
                parts += _step({**step, "arguments": text})
            else:
                parts += [text_part(text)] if text else []
                parts += _step(step) or [_content(step)]
            parts += [_content(media) for media in step.get("media", ())]
        parts = [part for part in parts if part is not None]
        return [{"role": "assistant", "parts": parts, "finish_reason": self._status}] if parts else []


_CONTENT = ContentFormat(read_content, read_output, InteractionContentAccumulator)
INTERACTIONS = WireFormat(read_request, read_response, InteractionAccumulator, _CONTENT, interaction_texts)
RETRIEVE_INTERACTION = WireFormat(
    read_fetch, read_response, InteractionAccumulator, replace(_CONTENT, request=no_content)
)
