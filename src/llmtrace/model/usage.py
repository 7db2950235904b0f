"""Token counts and other units that a provider bills."""

from __future__ import annotations

from dataclasses import dataclass

Counts = dict[str, float]
"""Reported counts by field of ``Usage``; unreported fields are absent. Building a ``Usage`` on every call would cost
more than reading the response."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one call. ``None`` means not reported, ``0`` means zero. Totals include their parts."""

    input: int | None = None
    """All input tokens, including cached ones."""
    output: int | None = None
    """All output tokens, including reasoning."""
    cache_read: int | None = None
    """Part of ``input`` that was read from a cache."""
    cache_write: int | None = None
    """Part of ``input`` that was written to a cache, whatever its lifetime."""
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    reasoning: int | None = None
    """Part of ``output``."""
    text_input: int | None = None
    """Part of ``input``, as are the other modalities; cached tokens are included."""
    image_input: int | None = None
    audio_input: int | None = None
    video_input: int | None = None
    document_input: int | None = None
    tool_input: int | None = None
    """Part of ``input`` that the provider's own tools added to the prompt."""
    text_cache_read: int | None = None
    image_cache_read: int | None = None
    audio_cache_read: int | None = None
    video_cache_read: int | None = None
    text_output: int | None = None
    """Part of ``output``, as are the other modalities."""
    image_output: int | None = None
    audio_output: int | None = None
    video_output: int | None = None
    citation_output: int | None = None
    """Part of ``output``: tokens that Perplexity read for its citations."""
    web_searches: int | None = None
    """Number of searches of the provider's own tool, as billed."""
    web_fetches: int | None = None
    grounded_prompts: int | None = None
    """1 if Google Search grounded the response, regardless of the number of queries."""
    maps_searches: int | None = None
    """1 if Google Maps grounded the response. Billed separately from web searches."""
    file_searches: int | None = None
    code_executions: int | None = None
    images: int | None = None
    """Number of generated images."""
    audio_seconds: float | None = None
    characters: int | None = None
    search_units: int | None = None
    """Number of search units, the billing unit of rerank calls."""
