"""Gemini generateContent, of the Gemini API and of Vertex AI: a request, an answer, and a stream of answers.

The model stands in the path, not in the body. The API takes and gives camelCase, and takes snake_case too; the SDK's
own objects are snake_case.
"""

from __future__ import annotations

from typing import Any

from ..._read import get, get_text, iter_list
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._texts import GENERATE_WORDS
from .._usage import merge_counts
from .generate_content import GENERATE_CONTENT

__all__ = ["GENERATE"]

_PARAMS = (
    ("temperature", "temperature", "temperature"),
    ("topP", "top_p", "top_p"),
    ("maxOutputTokens", "max_output_tokens", "max_tokens"),
    ("frequencyPenalty", "frequency_penalty", "frequency_penalty"),
    ("presencePenalty", "presence_penalty", "presence_penalty"),
    ("seed", "seed", "seed"),
)
_FORMATS = {"application/json": "json", "text/plain": "text"}
_MEDIA = {"AUDIO": "speech", "IMAGE": "image", "VIDEO": "video"}


def _either(source: Any, camel: str, snake: str) -> Any:
    value = get(source, camel)
    return get(source, snake) if value is None else value


def _enum_value(value: Any) -> str | None:
    """An enumeration's value, be it the wire's text or the SDK's own member."""
    value = getattr(value, "value", value)
    return value if isinstance(value, str) and value and value.isascii() else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 2**48 else None


def read_request(body: Any) -> Request:
    config = _either(body, "generationConfig", "generation_config")
    return Request(
        operation="generate_content",
        params=_read_params(config) if config is not None else {},
        output_type=_output_type(config),
        service_tier=_enum_value(_either(body, "serviceTier", "service_tier")),
    )


def _read_params(config: Any) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for camel, snake, name in _PARAMS:
        value = _either(config, camel, snake)
        if type(value) is int or type(value) is float:
            params[name] = value
    top_k = _either(config, "topK", "top_k")
    if type(top_k) is int or (type(top_k) is float and top_k.is_integer()):
        params["top_k"] = int(top_k)
    stop = _either(config, "stopSequences", "stop_sequences")
    if isinstance(stop, list) and stop and all(isinstance(item, str) for item in stop):
        params["stop_sequences"] = list(stop)  # the caller may change its list
    choices = _count(_either(config, "candidateCount", "candidate_count"))
    if choices is not None and choices != 1:
        params["choice.count"] = choices
    thinking = _either(config, "thinkingConfig", "thinking_config")
    level = _enum_value(_either(thinking, "thinkingLevel", "thinking_level"))
    if level is not None:
        params["reasoning.level"] = level
    return params


def _output_type(config: Any) -> str | None:
    kind = _either(config, "responseMimeType", "response_mime_type")
    if isinstance(kind, str) and kind in _FORMATS:
        return _FORMATS[kind]
    modalities = _either(config, "responseModalities", "response_modalities")
    for modality in modalities if isinstance(modalities, list) else ():
        media = _MEDIA.get((_enum_value(modality) or "").upper())
        if media is not None:
            return media
    return None


_TOTALS = (
    ("promptTokenCount", "prompt_token_count"),
    ("toolUsePromptTokenCount", "tool_use_prompt_token_count"),
    ("candidatesTokenCount", "candidates_token_count"),
    ("thoughtsTokenCount", "thoughts_token_count"),
)
_PROMPT, _TOOL_USE, _CANDIDATES, _THOUGHTS = (camel for camel, _ in _TOTALS)
_CACHED = ("cachedContentTokenCount", "cached_content_token_count")
_TOTAL = ("totalTokenCount", "total_token_count")
_PARTS = (
    ("promptTokensDetails", "prompt_tokens_details", _PROMPT, "_input"),
    ("toolUsePromptTokensDetails", "tool_use_prompt_tokens_details", _TOOL_USE, "_input"),
    ("candidatesTokensDetails", "candidates_tokens_details", _CANDIDATES, "_output"),
    ("cacheTokensDetails", "cache_tokens_details", _CACHED[0], "_cache_read"),
)
_FIELDS = frozenset(
    {"document_input"}
    | {
        modality + ending
        for modality in ("text", "image", "audio", "video")
        for ending in ("_input", "_output", "_cache_read")
    }
)
_TIERS = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


class UsageAccumulator:
    """Usage as told so far. Each answer of a stream tells it anew, and may tell less: of each field the last wins."""

    __slots__ = ("_counts", "_denied", "_parts", "tier", "traffic")

    def __init__(self) -> None:
        self._counts: Counts = {}
        self._denied: tuple[str, ...] = ()
        self._parts: dict[str, Counts] = {}
        self.tier: str | None = None
        self.traffic: str | None = None

    def add(self, usage: Any) -> None:
        """Read at once: the first releases of the SDK change what they were sent."""
        if usage is None:
            return
        here: Counts = {}
        for camel, snake in (*_TOTALS, _CACHED):
            value = _count(_either(usage, camel, snake))
            if value is not None:
                here[camel] = value
        merge_counts(self._counts, here)
        told = [here[name] for name, _ in _TOTALS if name in here]
        # The API leaves zeros out. When the total is the sum of the counts beside it, a count that only earlier answers
        # told is a zero here, as the draft of a step that ran a tool may be.
        adds_up = bool(told) and sum(told) == _count(_either(usage, *_TOTAL))
        self._denied = tuple(name for name, _ in _TOTALS[1:] if name not in here) if adds_up else ()
        for camel, snake, _, ending in _PARTS:
            parts = _either(usage, camel, snake)
            if isinstance(parts, list) and parts:
                read = _read_parts(parts, ending)
                if any(read.values()) or camel not in self._parts:
                    self._parts[camel] = read
        tier = _enum_value(_either(usage, "serviceTier", "service_tier"))
        traffic = _enum_value(_either(usage, "trafficType", "traffic_type"))
        self.tier = tier or (traffic and _TIERS.get(traffic)) or self.tier
        self.traffic = traffic or self.traffic

    def usage(self, *, final: bool = True) -> Counts | None:
        """All that was told. ``final``: the last answer was the end, and its total may deny what earlier ones told."""
        denied = self._denied if final else ()
        counts = {name: count for name, count in self._counts.items() if name not in denied}
        found: Counts = {}
        _add(found, "input", counts.get(_PROMPT), counts.get(_TOOL_USE))
        _add(found, "output", counts.get(_CANDIDATES), counts.get(_THOUGHTS))
        _add(found, "cache_read", counts.get(_CACHED[0]))
        _add(found, "reasoning", counts.get(_THOUGHTS))
        _add(found, "tool_input", counts.get(_TOOL_USE))
        for camel, _, total, _ in _PARTS:
            if total not in denied:
                for field, count in self._parts.get(camel, {}).items():
                    found[field] = found.get(field, 0) + count
        return found or None


def _read_parts(parts: list[Any], ending: str) -> Counts:
    found: Counts = {}
    for part in parts:
        field = (_enum_value(get(part, "modality")) or "").lower() + ending
        count = _count(_either(part, "tokenCount", "token_count"))
        if count is not None and field in _FIELDS:
            found[field] = found.get(field, 0) + count
    return found


def _add(into: Counts, name: str, *counts: float | None) -> None:
    told = [count for count in counts if count is not None]
    if told:
        into[name] = sum(told)


class GenerateAccumulator:
    """Folds the answers of a stream into one; a plain answer is a stream of one."""

    __slots__ = ("_blocked", "_error", "_finish", "_grounded", "_id", "_maps", "_model", "_queries", "_spoke", "_told")

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._finish: dict[int, str] = {}
        self._blocked: str | None = None
        self._queries: set[str] = set()
        self._grounded = self._maps = False
        self._error: str | None = None
        self._spoke = False
        self._told = UsageAccumulator()

    def add(self, answer: Any) -> bool:
        self._told.add(_either(answer, "usageMetadata", "usage_metadata"))
        if self._id is None:
            self._id = get_text(answer, "responseId") or get_text(answer, "response_id")
        if self._model is None:
            self._model = get_text(answer, "modelVersion") or get_text(answer, "model_version")
        candidates = get(answer, "candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            self._candidate(candidate)
        if not candidates:
            self._no_candidate_reason(answer)
        return self._spoke

    def _candidate(self, candidate: Any) -> None:
        reason = _enum_value(_either(candidate, "finishReason", "finish_reason"))
        if reason is not None:
            self._finish[_count(get(candidate, "index")) or 0] = reason
        grounding = _either(candidate, "groundingMetadata", "grounding_metadata")
        if grounding is not None:
            self._ground(grounding)
        if not self._spoke:
            self._spoke = any(_has_content(part) for part in iter_list(get(candidate, "content"), "parts"))

    def _ground(self, grounding: Any) -> None:
        queries = _either(grounding, "webSearchQueries", "web_search_queries")
        for query in queries if isinstance(queries, list) else ():
            if isinstance(query, str) and query:
                self._queries.add(query)
        chunks = _either(grounding, "groundingChunks", "grounding_chunks")
        if not isinstance(chunks, list):
            chunks = []
        # What a caller's own files or stores answered is no search of Google's.
        self._grounded = (
            self._grounded
            or bool(self._queries)
            or _either(grounding, "searchEntryPoint", "search_entry_point") is not None
            or any(get(chunk, "web") is not None for chunk in chunks)
        )
        # Google Maps is a product of its own, with a fee of its own.
        self._maps = (
            self._maps
            or _either(grounding, "googleMapsWidgetContextToken", "google_maps_widget_context_token") is not None
            or any(get(chunk, "maps") is not None for chunk in chunks)
        )

    def _no_candidate_reason(self, answer: Any) -> None:
        feedback = _either(answer, "promptFeedback", "prompt_feedback")
        if feedback is not None:
            self._blocked = _enum_value(_either(feedback, "blockReason", "block_reason")) or self._blocked
        self._error = read_error(answer) or self._error

    @property
    def ended(self) -> bool:
        return bool(self._finish) or self._blocked is not None

    def result(self) -> Response:
        told, traffic = self._told, self._told.traffic
        usage = told.usage(final=self.ended)
        if self._grounded or self._maps:
            usage = {} if usage is None else usage
        if usage is not None and self._grounded:
            usage["grounded_prompts"] = 1
            if self._queries:
                usage["web_searches"] = len(self._queries)
        if usage is not None and self._maps:
            usage["maps_searches"] = 1
        finish = tuple(self._finish[index] for index in sorted(self._finish))
        return Response(
            id=self._id,
            model=self._model,
            # A blocked prompt has no candidate that could say why.
            finish_reasons=finish or ((self._blocked,) if self._blocked else ()),
            usage=usage,
            service_tier=told.tier,
            price_context={"traffic_type": traffic} if traffic is not None and traffic not in _TIERS else {},
            error=self._error,
            failed=self._error is not None,
            refused=self._blocked is not None,
            complete=self.ended,
        )


_CONTENT = (
    ("text", "text"),
    ("functionCall", "function_call"),
    ("inlineData", "inline_data"),
    ("fileData", "file_data"),
    ("executableCode", "executable_code"),
    ("toolCall", "tool_call"),
)


def _has_content(part: Any) -> bool:
    return any(_either(part, camel, snake) for camel, snake in _CONTENT)


def read_response(answer: Any) -> Response:
    answers = GenerateAccumulator()
    answers.add(answer)
    return answers.result()


GENERATE = WireFormat(
    request=read_request,
    response=read_response,
    accumulator=GenerateAccumulator,
    content=GENERATE_CONTENT,
    words=GENERATE_WORDS,
)
