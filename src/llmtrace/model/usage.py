"""Token counts and the other things a provider bills for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counts", "Usage"]

Counts = dict[str, float]
"""What a provider told, by field of ``Usage``. A name that is absent was not told. Readers fill this, since to build a
``Usage`` on every call would cost more than all the reading."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one call. ``None`` is "not told", ``0`` is zero; totals include their parts."""

    input: int | None = None
    """Every input token, cached ones too."""
    output: int | None = None
    """Every output token, reasoning too."""
    cache_read: int | None = None
    """Part of ``input`` that a cache answered."""
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
    """Part of ``input`` that a provider's own tools added to the prompt."""
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
    """Part of ``output``: what Perplexity read to cite it."""
    web_searches: int | None = None
    """Searches made by the provider's own tool, as it bills them."""
    web_fetches: int | None = None
    grounded_prompts: int | None = None
    """1 when Google Search grounded the answer at all, however many queries that took."""
    maps_searches: int | None = None
    """1 when Google Maps grounded the answer; billed apart from searches of the web."""
    file_searches: int | None = None
    code_executions: int | None = None
    images: int | None = None
    """Images made."""
    audio_seconds: float | None = None
    characters: int | None = None
    search_units: int | None = None
    """What a rerank call is billed in."""
