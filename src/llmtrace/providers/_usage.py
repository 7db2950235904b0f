"""Usage as responses report it: the names in use (``usage.toml``), and the merging of reports of one response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

from .._read import Money, as_mapping, get, get_count, get_number, get_text, read_money
from .._tables import by_value, read_tables
from ..model import Counts, Response

_MAX_COUNT = 2**48


def merge_counts(counts: Counts, later: Mapping[str, float]) -> None:
    """Update ``counts`` with a later report of the same response.

    The last report of a count wins, even when it is smaller. A zero does not replace a positive count: compatible
    servers send zeros for counts that they no longer have.
    """
    for name, count in later.items():
        if count or not counts.get(name):
            counts[name] = count


_BILLED_SUFFIXES = (
    "tokens", "seconds", "minutes", "characters", "images", "image_count", "pixels", "pages", "searches", "queries",
    "requests", "calls", "sessions", "sources_used", "videos",
)  # fmt: skip
"""Suffixes of the names of counts that may be billed."""


def is_billed(name: str) -> bool:
    """Return true if a count of that name, in snake case, may be billed."""
    return name.endswith(_BILLED_SUFFIXES)


Names = Mapping[str, "str | Names | None"]
"""Field of ``Usage`` by reported name, a table of names for a nested mapping, or ``None`` for a count to ignore."""


def _read_names() -> dict[str, Names]:
    tables: dict[str, Names] = {}
    for table, fields in read_tables(__package__, "usage.toml").items():
        names: dict[str, str | Names | None] = {}
        for included in fields.pop("include", ()):
            names.update(tables[included])
        for reported, field in by_value(fields).items():
            names[reported] = None if field == "ignored" else tables.get(field, field)
        tables[table] = names
    return tables


OPENAI: Names = _read_names()["openai"]
_FRACTIONS = frozenset({"audio_seconds"})
"""Fields that may hold fractions."""
_NO_NAMES: Names = {}
_UNKNOWN = object()


class Reported:
    """Usage reported so far in one response.

    A stream may report it once, at both ends, or with every chunk.
    """

    __slots__ = ("counts", "stated", "tier", "unread")

    def __init__(self, usage: Any = None, names: Names = OPENAI) -> None:
        self.counts: Counts = {}
        """Counts by field of ``Usage``, plus ``total``, as the vendor counts them."""
        self.stated: Money | None = None
        self.tier: str | None = None
        """Service tier that the usage names, as Mistral's does."""
        self.unread: dict[str, None] = {}
        """Names of positive counts that may be billed and that no table contains."""
        if usage is not None:
            self.add(usage, names)

    def add(self, usage: Any, names: Names = OPENAI) -> None:
        """Merge one report, whose names ``names`` translates."""
        usage = as_mapping(usage)
        if usage is None:
            return
        counts: Counts = {}
        _read(usage, names, counts, self.unread)
        self.add_counts(counts)
        stated = read_stated_cost(usage)
        if stated is not None and (stated or not self.stated):
            self.stated = stated
        self.tier = get_text(usage, "service_tier") or self.tier

    def add_counts(self, counts: Counts) -> None:
        """Merge the counts of a report that is already parsed."""
        if self.counts:
            merge_counts(self.counts, counts)
        else:
            self.counts = counts

    def fill(self, response: Response, counts: Counts | None) -> Response:
        """Set the reported usage on ``response``, with ``counts`` as inclusive totals."""
        response.usage = counts
        response.stated_cost = self.stated
        if self.unread:
            response.unmapped_counts = tuple(self.unread)
        return response

    def fill_input(self, response: Response) -> Response:
        """Set the reported usage of an operation without output tokens, whose total is the input."""
        if "total" in self.counts:
            self.counts.setdefault("input", self.counts["total"])
        if not self.counts.get("output"):
            self.counts.pop("output", None)
        return self.fill_openai(response)

    def fill_openai(self, response: Response) -> Response:
        """Set the reported usage on ``response``, with totals computed as in the OpenAI dialect."""
        counts = self.fill(response, openai_totals(self.counts)).usage
        response.service_tier = response.service_tier or self.tier
        total = self.counts.get("total")
        # Report tokens that only the total includes: Gemini's OpenAI dialect bills reasoning this way.
        # Skip audio billed by time: its tokens are in the total too.
        if (
            total is not None
            and counts is not None
            and "audio_seconds" not in counts
            and total > counts.get("input", 0) + counts.get("output", 0)
        ):
            response.price_context["unexplained"] = "tokens"
        return response


def _read(source: Any, names: Names, into: Counts, unread: dict[str, None]) -> None:
    if type(source) is not dict:
        # Read the known names only: the fields of such an object, a protobuf for example, cannot be listed.
        source = {name: value for name in names if (value := get(source, name)) is not None}
    for name, value in source.items():
        if value is None:
            continue
        meaning: Any = names.get(name, _UNKNOWN)
        kind = type(value)
        if kind is int or kind is float:
            if type(meaning) is str:
                type_fits = kind is int or meaning in _FRACTIONS
                if type_fits and 0 <= value <= _MAX_COUNT and value > into.get(meaning, -1):
                    into[meaning] = value
            elif meaning is _UNKNOWN and value > 0 and type(name) is str and is_billed(name):
                unread[name] = None
        elif meaning is not None and kind is not str and kind is not bool and kind is not list:
            inner = as_mapping(value)
            if meaning is _UNKNOWN:
                # Descend one level only: a server may nest without limit.
                if type(inner) is dict and names is not _NO_NAMES:
                    _read(inner, _NO_NAMES, into, unread)
            elif type(meaning) is not str:
                _read(inner, meaning, into, unread)


def add_cache_writes(counts: Counts) -> None:
    """Set the total of cache writes, if only those of each lifetime are reported."""
    if "cache_write" not in counts and ("cache_write_5m" in counts or "cache_write_1h" in counts):
        counts["cache_write"] = counts.get("cache_write_5m", 0) + counts.get("cache_write_1h", 0)


def openai_totals(reported: Mapping[str, float]) -> Counts | None:
    """Return the counts with ``input`` and ``output`` as inclusive totals.

    ``total_tokens`` reveals servers that count cached tokens or reasoning separately.
    """
    counts = dict(reported)
    total = counts.pop("total", None)
    add_cache_writes(counts)
    if "citation_output" in counts:
        # Perplexity counts citations and reasoning separately from the completion.
        counts["output"] = counts.get("output", 0) + counts["citation_output"] + counts.get("reasoning", 0)
    elif total is not None:
        input_tokens, output_tokens = counts.get("input", 0), counts.get("output", 0)
        reasoning = counts.get("reasoning", 0)
        cached = counts.get("cache_read", 0) + counts.get("cache_write", 0)
        if reasoning and total == input_tokens + output_tokens + reasoning:
            counts["output"] = output_tokens + reasoning
        elif cached and total == input_tokens + output_tokens + cached:
            counts["input"] = input_tokens + cached
    return counts or None


def read_openai_usage(usage: Any) -> Counts | None:
    """Return the counts of one report of the OpenAI dialect."""
    return openai_totals(Reported(usage).counts)


_TICKS_PER_USD = 10**10
"""Ticks in one US dollar, the unit of xAI's costs."""
_NESTED_COST_FIELDS = ("total_cost", "total")
_FLAT_COST_FIELDS = ("total_cost", "cost_usd", "cost_usd_total")
_COST_FIELDS = frozenset({"cost", "cost_in_usd_ticks", *_FLAT_COST_FIELDS})


def read_stated_cost(usage: Any) -> Money | None:
    """Return the cost in USD that a provider or gateway states for the call."""
    if type(usage) is dict and _COST_FIELDS.isdisjoint(usage):
        return None
    stated = get(usage, "cost")
    if stated is None:
        ticks = get_count(usage, "cost_in_usd_ticks")  # xAI, tools included
        return _first_money(usage, _FLAT_COST_FIELDS) if ticks is None else Fraction(ticks, _TICKS_PER_USD)
    if not isinstance(stated, (int, float, str)):
        return _first_money(stated, _NESTED_COST_FIELDS)
    cost = read_money(stated)
    if cost is None or get(usage, "is_byok") is not True:
        return cost
    # With the caller's own key, ``cost`` is the gateway's fee only: the vendor bills the model's price.
    upstream = get_number(get(usage, "cost_details"), "upstream_inference_cost")
    return None if upstream is None or min(cost, upstream) < 0 else Fraction(str(cost)) + Fraction(str(upstream))


def _first_money(source: Any, names: Iterable[str]) -> Money | None:
    return next((cost for name in names if (cost := read_money(get(source, name))) is not None), None)


_STAGES = {"queue_time": "queue", "prompt_time": "prompt", "completion_time": "completion", "total_time": "total"}


def read_server_times(
    source: Any, stages: Mapping[str, str] = _STAGES, *, per_second: int = 1
) -> dict[str, float] | None:
    """Return the seconds that a server spent by stage, ``None`` if it reports none.

    Args:
        source: What has the times, such as the usage of Groq.
        stages: The stages by the server's names.
        per_second: How many of the server's units make a second.
    """
    times = {
        stage: value / per_second
        for name, stage in stages.items()
        if (value := get_number(source, name)) is not None and value >= 0
    }
    return times or None
