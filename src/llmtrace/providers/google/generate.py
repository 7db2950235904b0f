"""Gemini generateContent, of the Gemini API and Vertex AI: readers of requests, responses and stream chunks.

The model is in the path, not in the body. The API returns camelCase names and accepts snake_case too. The SDK's own
objects use snake_case.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from ..._read import as_mapping, get, get_text, iter_list, put
from ...capture.error_body import read_error
from ...model import Counts, Request, Response
from ...model.wire_format import WireFormat
from .._texts import generate_texts
from .._usage import is_billed, merge_counts
from .generate_content import GENERATE_CONTENT, either, snake_case

__all__ = ["GENERATE"]

_PARAMS = {
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_tokens",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "seed": "seed",
}
_FORMATS = {"application/json": "json", "text/plain": "text"}
_MEDIA = {"AUDIO": "speech", "IMAGE": "image", "VIDEO": "video"}


def _enum_value(value: Any) -> str | None:
    """Return the value of an enumeration, whether text from the wire or a member of the SDK's enum."""
    value = getattr(value, "value", value)
    return value if isinstance(value, str) and value and value.isascii() else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value <= 2**48 else None


def read_request(body: Any) -> Request:
    config = either(body, "generationConfig")
    return Request(
        operation="generate_content",
        params=_read_params(config) if config is not None else {},
        output_type=_output_type(config),
        service_tier=_enum_value(either(body, "serviceTier")),
    )


def _read_params(config: Any) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for field_name, name in _PARAMS.items():
        value = either(config, field_name)
        if type(value) is int or type(value) is float:
            params[name] = value
    top_k = either(config, "topK")
    if type(top_k) is int or (type(top_k) is float and top_k.is_integer()):
        params["top_k"] = int(top_k)
    stop = either(config, "stopSequences")
    if isinstance(stop, list) and stop and all(isinstance(item, str) for item in stop):
        params["stop_sequences"] = list(stop)  # the caller may change its list
    choices = _count(either(config, "candidateCount"))
    level = _enum_value(either(either(config, "thinkingConfig"), "thinkingLevel"))
    put(params, {"choice.count": None if choices == 1 else choices, "reasoning.level": level})
    return params


def _output_type(config: Any) -> str | None:
    kind = either(config, "responseMimeType")
    if isinstance(kind, str) and kind in _FORMATS:
        return _FORMATS[kind]
    modalities = either(config, "responseModalities")
    for modality in modalities if isinstance(modalities, list) else ():
        media = _MEDIA.get((_enum_value(modality) or "").upper())
        if media is not None:
            return media
    return None


_TOTALS = ("promptTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
_PROMPT, _TOOL_USE, _CANDIDATES, _THOUGHTS = _TOTALS
_CACHED, _TOTAL = "cachedContentTokenCount", "totalTokenCount"
_PARTS = (
    ("promptTokensDetails", _PROMPT, "_input"),
    ("toolUsePromptTokensDetails", _TOOL_USE, "_input"),
    ("candidatesTokensDetails", _CANDIDATES, "_output"),
    ("cacheTokensDetails", _CACHED, "_cache_read"),
)
_MODALITIES = ("text", "image", "audio", "video")
MODALITY_FIELDS = frozenset(
    {"document_input"}
    | {modality + ending for modality in _MODALITIES for ending in ("_input", "_output", "_cache_read")}
)
_TEXT_MODALITIES = frozenset({"", "document", "modality_unspecified"})
"""Modalities whose tokens count as text where they have no field of their own."""
_READ_FIELDS = (*_TOTALS, _CACHED, _TOTAL, *(name for name, *_ in _PARTS), "initialPromptTokenCount")
_READ_NAMES = frozenset(_READ_FIELDS) | frozenset(map(snake_case, _READ_FIELDS))
"""Names of the counts that are read, and of a part of the prompt."""
_TIERS = {"ON_DEMAND": "standard", "ON_DEMAND_PRIORITY": "priority", "ON_DEMAND_FLEX": "flex"}


@dataclass(slots=True, eq=False)
class UsageAccumulator:
    """Accumulator of usage, which every chunk of a stream reports, perhaps in part. The last value of a field wins."""

    _counts: Counts = field(default_factory=dict)
    _implied_zeros: tuple[str, ...] = ()
    _parts: dict[str, Counts] = field(default_factory=dict)
    unread: dict[str, None] = field(default_factory=dict)
    """Names of positive counts that may be billed and that no table contains."""
    tier: str | None = None
    traffic: str | None = None

    def add(self, usage: Any) -> None:
        """Read one report immediately: the first releases of the SDK change the object later."""
        if usage is None:
            return
        counts: Counts = {}
        put(counts, {name: _count(either(usage, name)) for name in (*_TOTALS, _CACHED)})
        merge_counts(self._counts, counts)
        reported = [counts[name] for name in _TOTALS if name in counts]
        # The API omits zeros. A count that only earlier chunks reported is zero if the counts of this chunk add up to
        # its total. An example is the draft of a step that ran a tool.
        adds_up = bool(reported) and sum(reported) == _count(either(usage, _TOTAL))
        self._implied_zeros = tuple(name for name in _TOTALS[1:] if name not in counts) if adds_up else ()
        for name, _, ending in _PARTS:
            parts = either(usage, name)
            if isinstance(parts, list) and parts:
                read = self._read_parts(parts, ending)
                if any(read.values()) or name not in self._parts:
                    self._parts[name] = read
        tier = _enum_value(either(usage, "serviceTier"))
        traffic = _enum_value(either(usage, "trafficType"))
        self.tier = tier or (traffic and _TIERS.get(traffic)) or self.tier
        self.traffic = traffic or self.traffic
        fields = as_mapping(usage)
        for name in sorted(fields.keys() - _READ_NAMES) if type(fields) is dict else ():
            if _may_be_billed(name, fields[name]):
                self.unread[name] = None

    def _read_parts(self, parts: list[Any], ending: str) -> Counts:
        counts: Counts = {}
        for part in parts:
            modality = (_enum_value(get(part, "modality")) or "").lower()
            count = _count(either(part, "tokenCount"))
            if count is not None and modality + ending in MODALITY_FIELDS:
                counts[modality + ending] = counts.get(modality + ending, 0) + count
            elif count and modality not in _TEXT_MODALITIES and modality not in _MODALITIES:
                self.unread[modality + ending] = None
        return counts

    def usage(self, *, final: bool = True) -> Counts:
        """Return all reported counts. In a ``final`` report the total may reset counts of earlier chunks to zero."""
        zeros = self._implied_zeros if final else ()
        counts = {name: count for name, count in self._counts.items() if name not in zeros}
        result: Counts = {}
        _add(result, "input", counts.get(_PROMPT), counts.get(_TOOL_USE))
        _add(result, "output", counts.get(_CANDIDATES), counts.get(_THOUGHTS))
        _add(result, "cache_read", counts.get(_CACHED))
        _add(result, "reasoning", counts.get(_THOUGHTS))
        _add(result, "tool_input", counts.get(_TOOL_USE))
        for name, total, _ in _PARTS:
            if total not in zeros:
                for field, count in self._parts.get(name, {}).items():
                    result[field] = result.get(field, 0) + count
        return result


def _may_be_billed(name: str, value: Any) -> bool:
    """Return true for a positive count under an unknown name, or for details that hold one."""
    if isinstance(value, list):
        return any(_count(either(part, "tokenCount")) for part in value)
    name = name.lower()
    return type(value) in (int, float) and value > 0 and (name.endswith("count") or is_billed(name))


def _add(into: Counts, name: str, *counts: float | None) -> None:
    reported = [count for count in counts if count is not None]
    if reported:
        into[name] = sum(reported)


@dataclass(slots=True, eq=False)
class GenerateAccumulator:
    """Accumulator of the chunks of a stream; a plain response is a stream of one chunk."""

    _response: Response = field(default_factory=Response)
    _finish: dict[int, str] = field(default_factory=dict)
    _blocked: str | None = None
    _queries: set[str] = field(default_factory=set)
    _grounded: bool = False
    _maps: bool = False
    _saw_content: bool = False
    _reported: UsageAccumulator = field(default_factory=UsageAccumulator)

    def add(self, chunk: Any) -> bool:
        self._reported.add(either(chunk, "usageMetadata"))
        response = self._response
        if response.id is None:
            response.id = get_text(chunk, "responseId") or get_text(chunk, "response_id")
        if response.model is None:
            response.model = get_text(chunk, "modelVersion") or get_text(chunk, "model_version")
        candidates = get(chunk, "candidates")
        for candidate in candidates if isinstance(candidates, list) else ():
            self._candidate(candidate)
        if not candidates:
            self._read_block_reason(chunk)
        return self._saw_content

    def _candidate(self, candidate: Any) -> None:
        reason = _enum_value(either(candidate, "finishReason"))
        if reason is not None:
            self._finish[_count(get(candidate, "index")) or 0] = reason
        grounding = either(candidate, "groundingMetadata")
        if grounding is not None:
            self._ground(grounding)
        if not self._saw_content:
            self._saw_content = any(_has_content(part) for part in iter_list(get(candidate, "content"), "parts"))

    def _ground(self, grounding: Any) -> None:
        queries = either(grounding, "webSearchQueries")
        for query in queries if isinstance(queries, list) else ():
            if isinstance(query, str) and query:
                self._queries.add(query)
        chunks = either(grounding, "groundingChunks")
        if not isinstance(chunks, list):
            chunks = []
        # Results from the caller's own files or stores are not a Google search.
        self._grounded = (
            self._grounded
            or bool(self._queries)
            or either(grounding, "searchEntryPoint") is not None
            or any(get(chunk, "web") is not None for chunk in chunks)
        )
        # Google Maps is a separate product with a separate fee.
        self._maps = (
            self._maps
            or either(grounding, "googleMapsWidgetContextToken") is not None
            or any(get(chunk, "maps") is not None for chunk in chunks)
        )

    def _read_block_reason(self, chunk: Any) -> None:
        feedback = either(chunk, "promptFeedback")
        if feedback is not None:
            self._blocked = _enum_value(either(feedback, "blockReason")) or self._blocked
        self._response.error = read_error(chunk) or self._response.error

    @property
    def ended(self) -> bool:
        return bool(self._finish) or self._blocked is not None

    def result(self) -> Response:
        reported, traffic = self._reported, self._reported.traffic
        usage = reported.usage(final=self.ended)
        if self._grounded:
            usage["grounded_prompts"] = 1
            if self._queries:
                usage["web_searches"] = len(self._queries)
        if self._maps:
            usage["maps_searches"] = 1
        finish = tuple(self._finish[index] for index in sorted(self._finish))
        return replace(
            self._response,
            # A blocked prompt has no candidate, hence no finish reason.
            finish_reasons=finish or ((self._blocked,) if self._blocked else ()),
            usage=usage or None,
            service_tier=reported.tier,
            price_context={"traffic_type": traffic} if traffic is not None and traffic not in _TIERS else {},
            unmapped_counts=tuple(reported.unread),
            failed=self._response.error is not None,
            refused=self._blocked is not None,
            complete=self.ended,
        )


_CONTENT = ("text", "functionCall", "inlineData", "fileData", "executableCode", "toolCall")


def _has_content(part: Any) -> bool:
    return any(either(part, name) for name in _CONTENT)


def read_response(response: Any) -> Response:
    accumulator = GenerateAccumulator()
    accumulator.add(response)
    return accumulator.result()


GENERATE = WireFormat(read_request, read_response, GenerateAccumulator, GENERATE_CONTENT, generate_texts)
