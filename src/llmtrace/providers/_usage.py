"""Usage as answers report it: the names in use, and how the reports of one answer add up.

Gateways and compatible servers mix the names of vendors, APIs and versions. So one table covers every API of the OpenAI
dialect: chat, responses, embeddings, images, audio and assistants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from .._read import Money, as_mapping, get, get_number, read_money
from .._read import get_count as count_of
from ..model import Counts, Response

__all__ = ["OPENAI", "Names", "Reported", "merge_counts", "openai_totals", "read_openai_usage"]

_MAX_COUNT = 2**48


def merge_counts(counts: Counts, later: Mapping[str, float]) -> None:
    """Update ``counts`` with a later report of the same answer.

    The last report of a count wins, also when it is smaller. A zero after a positive count does not: compatible servers
    fill what they no longer know with zeros.
    """
    for name, count in later.items():
        if count or not counts.get(name):
            counts[name] = count


_BILLED = (
    "tokens", "seconds", "minutes", "characters", "images", "image_count", "pixels", "pages", "searches", "queries",
    "requests", "calls", "sessions", "sources_used", "videos",
)  # fmt: skip
"""How the names of counts end that may be billed."""


def _is_billed(name: str) -> bool:
    return name.endswith(_BILLED)


Names = Mapping[str, "str | Names | None"]
"""By name in the report: the field of ``Usage``, the names inside a mapping, or ``None`` for what adds nothing."""

_WRITES: Names = {
    "ephemeral_5m_input_tokens": "cache_write_5m",
    "ephemeral_1h_input_tokens": "cache_write_1h",
}
_CACHED: Names = {
    "text_tokens": "text_cache_read",
    "image_tokens": "image_cache_read",
    "audio_tokens": "audio_cache_read",
    "video_tokens": "video_cache_read",
    "cached_text_tokens": "text_cache_read",
    "cached_image_tokens": "image_cache_read",
    "cached_audio_tokens": "audio_cache_read",
}
_CACHE: Names = {
    "cached_tokens": "cache_read",
    "cache_read_tokens": "cache_read",
    "cache_read_input_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "cache_write_input_tokens": "cache_write",
    "cache_creation_tokens": "cache_write",  # LiteLLM
    "cache_creation_input_tokens": "cache_write",  # DashScope, and what passes Anthropic's names on
    "cached_creation_tokens": "cache_write",  # New API
    "cache_creation": _WRITES,
    "cache_creation_token_details": _WRITES,
    "cached_tokens_details": _CACHED,
}
_TOOLS: Names = {
    "web_search_requests": "web_searches",
    "web_search_calls": "web_searches",
    "web_fetch_requests": "web_fetches",
    "code_interpreter_calls": "code_executions",
    "code_execution_requests": "code_executions",
    "file_search_calls": "file_searches",
    "mcp_calls": None,
    "tool_search_requests": None,
    "tool_calls_requested": None,
    "tool_calls_executed": None,
}
_INPUT: Names = {
    **_CACHE,
    "text_tokens": "text_input",
    "audio_tokens": "audio_input",
    "image_tokens": "image_input",
    "video_tokens": "video_input",
    "file_tokens": "document_input",
    "tool_use_tokens": "tool_input",
    "audio_length_seconds": "audio_seconds",
    "web_search_requests": "web_searches",
    "google_maps_grounding_requests": "maps_searches",
    "initial_prompt_tokens": None,
}
_OUTPUT: Names = {
    "reasoning_tokens": "reasoning",
    "thinking_tokens": "reasoning",
    "text_tokens": "text_output",
    "audio_tokens": "audio_output",
    "image_tokens": "image_output",
    "video_tokens": "video_output",
    # Part of the completion, accepted or not.
    "accepted_prediction_tokens": None,
    "rejected_prediction_tokens": None,
}
OPENAI: Names = {
    **_CACHE,
    "prompt_tokens": "input",
    "input_tokens": "input",
    "completion_tokens": "output",
    "output_tokens": "output",
    "total_tokens": "total",
    "prompt_tokens_details": _INPUT,
    "prompt_token_details": _INPUT,
    "input_tokens_details": _INPUT,
    "input_token_details": _INPUT,
    "completion_tokens_details": _OUTPUT,
    "completion_token_details": _OUTPUT,
    "output_tokens_details": _OUTPUT,
    "output_token_details": _OUTPUT,
    "prompt_cache_hit_tokens": "cache_read",  # DeepSeek
    "prompt_cache_miss_tokens": None,
    "prompt_cache_read_tokens": "cache_read",
    "prompt_cache_write_tokens": "cache_write",
    "num_cached_tokens": "cache_read",  # Mistral
    "cached_prompt_tokens": "cache_read",
    "cached_read_tokens": "cache_read",
    "cached_write_tokens": "cache_write",
    "claude_cache_creation_5_m_tokens": "cache_write_5m",  # New API
    "claude_cache_creation_1_h_tokens": "cache_write_1h",
    "reasoning_tokens": "reasoning",
    "citation_tokens": "citation_output",  # Perplexity
    "num_search_queries": "web_searches",
    "image_tokens": "image_input",
    "text_tokens": "text_input",
    "audio_tokens": "audio_input",
    "video_tokens": "video_input",
    "seconds": "audio_seconds",  # OpenAI
    "prompt_audio_seconds": "audio_seconds",  # Mistral
    "audio_seconds": "audio_seconds",
    "input_audio_seconds": "audio_seconds",
    "audio_duration_seconds": "audio_seconds",
    "characters": "characters",
    "input_characters": "characters",
    "image_count": "images",  # DashScope
    "num_images": "images",
    "images": "images",
    "search_units": "search_units",
    "plugins": {"search": {"count": "web_searches"}},  # DashScope
    "x_tools": {"web_search": {"count": "web_searches"}, "code_interpreter": {"count": "code_executions"}},
    "server_tool_use": _TOOLS,
    "server_tool_use_details": _TOOLS,
    "server_side_tool_usage": _TOOLS,
    "server_side_tool_usage_details": _TOOLS,  # xAI
    "cost_details": None,
    "usage_breakdown": None,
}
_FRACTIONS = frozenset({"audio_seconds"})
"""Fields that may be no whole number."""
_NAMELESS: Names = {}
_UNKNOWN = object()


class Reported:
    """The usage reported so far in one answer.

    A stream may report it once, at both ends, or with every chunk.
    """

    __slots__ = ("counts", "stated", "unread")

    def __init__(self) -> None:
        self.counts: Counts = {}
        """By field of ``Usage``, as the vendor counts; ``total`` too."""
        self.stated: Money | None = None
        self.unread: dict[str, None] = {}
        """Names of positive counts that may be billed and that no table knows."""

    def add(self, usage: Any, names: Names = OPENAI) -> None:
        usage = as_mapping(usage)
        if usage is None:
            return
        counts: Counts = {}
        _read(usage, names, counts, self.unread)
        self.add_counts(counts)
        stated = read_stated_cost(usage)
        if stated is not None and (stated or not self.stated):
            self.stated = stated

    def add_counts(self, counts: Counts) -> None:
        """Take in a report that is read already."""
        if self.counts:
            merge_counts(self.counts, counts)
        else:
            self.counts = counts

    def fill(self, answer: Response, counts: Counts | None) -> Response:
        """Set on ``answer`` what was reported; ``counts`` are its inclusive ones."""
        answer.usage = counts
        answer.stated_cost = self.stated
        if self.unread:
            answer.unread = tuple(self.unread)
        return answer

    def fill_openai(self, answer: Response) -> Response:
        """The same for the OpenAI dialect."""
        counts = self.fill(answer, openai_totals(self.counts)).usage
        total = self.counts.get("total")
        # Gemini's OpenAI dialect bills thoughts that only its total holds. Audio billed by time is in it too.
        if (
            total is not None
            and counts is not None
            and "audio_seconds" not in counts
            and total > counts.get("input", 0) + counts.get("output", 0)
        ):
            answer.price_context["unexplained"] = "tokens"
        return answer


def _read(source: Any, names: Names, into: Counts, unread: dict[str, None]) -> None:
    if type(source) is not dict:
        # An object outside our sight of it, such as a protobuf: read the names that are known.
        source = {name: value for name in names if (value := get(source, name)) is not None}
    for name, value in source.items():
        if value is None:
            continue
        meaning = names.get(name, _UNKNOWN)
        kind = type(value)
        if kind is int or kind is float:
            if type(meaning) is str:
                whole = kind is int or meaning in _FRACTIONS
                if whole and 0 <= value <= _MAX_COUNT and value > into.get(meaning, -1):
                    into[meaning] = value
            elif meaning is _UNKNOWN and value > 0 and type(name) is str and _is_billed(name):
                unread[name] = None
        elif meaning is not None and kind is not str and kind is not bool and kind is not list:
            inner = as_mapping(value)
            if isinstance(meaning, Mapping):
                _read(inner, meaning, into, unread)
            elif meaning is _UNKNOWN and type(inner) is dict and names is not _NAMELESS:
                # One level: a server may nest without end.
                _read(inner, _NAMELESS, into, unread)


def openai_totals(reported: Mapping[str, float]) -> Counts | None:
    """Return the counts with ``input`` and ``output`` as inclusive totals.

    Servers that count cached tokens or reasoning apart show it in ``total_tokens``.
    """
    found = {name: count for name, count in reported.items() if name != "total"}
    total = reported.get("total")
    if "cache_write" not in found and ("cache_write_5m" in found or "cache_write_1h" in found):
        found["cache_write"] = found.get("cache_write_5m", 0) + found.get("cache_write_1h", 0)
    if "citation_output" in found:
        # Perplexity counts what it read and thought apart.
        found["output"] = found.get("output", 0) + found["citation_output"] + found.get("reasoning", 0)
    elif total is not None:
        given, made = found.get("input", 0), found.get("output", 0)
        reasoning = found.get("reasoning", 0)
        cached = found.get("cache_read", 0) + found.get("cache_write", 0)
        if reasoning and total == given + made + reasoning:
            found["output"] = made + reasoning
        elif cached and total == given + made + cached:
            found["input"] = given + cached
    return found or None


def read_openai_usage(usage: Any) -> Counts | None:
    """Return the counts of one report of the OpenAI dialect."""
    reported = Reported()
    reported.add(usage)
    return openai_totals(reported.counts)


_TICKS = 10**10
"""In a dollar."""
_TOTALS = ("total_cost", "total")
_STATED = ("total_cost", "cost_usd", "cost_usd_total")
_COSTS = frozenset({"cost", "cost_in_usd_ticks", *_STATED})


def read_stated_cost(usage: Any) -> Money | None:
    """Return the USD that a provider or gateway says the call cost."""
    if type(usage) is dict and _COSTS.isdisjoint(usage):
        return None
    told = get(usage, "cost")
    if told is None:
        ticks = count_of(usage, "cost_in_usd_ticks")  # xAI, with its tools
        return _first(usage, _STATED) if ticks is None else Fraction(ticks, _TICKS)
    if not isinstance(told, (int, float, str)):
        return _first(told, _TOTALS)
    cost = read_money(told)
    if cost is None or get(usage, "is_byok") is not True:
        return cost
    # The gateway's fee only: the model's own price is billed by its vendor.
    upstream = get_number(get(usage, "cost_details"), "upstream_inference_cost")
    return None if upstream is None or min(cost, upstream) < 0 else Fraction(str(cost)) + Fraction(str(upstream))


def _first(source: Any, names: Iterable[str]) -> Money | None:
    return next((cost for name in names if (cost := read_money(get(source, name))) is not None), None)
