"""One exchange with a provider: what was asked, what came back, how a stream behaved."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .call import PromptUse
from .chunk_gaps import ChunkGaps
from .finish_reasons import normalize_finish_reason
from .usage import Counts

__all__ = ["Request", "Response", "StreamTiming"]


# One of each is made for every call, and a frozen one costs three times as much. Nobody changes them.


@dataclass(slots=True)
class Request:
    """What was asked, as far as it reaches a span."""

    operation: str
    model: str | None = None
    stream: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    """Request parameters by the convention's name, without prefix: ``temperature``, ``max_tokens``..."""
    vendor_params: dict[str, Any] = field(default_factory=dict)
    """All parameters by the vendor's own names."""
    output_type: str | None = None
    service_tier: str | None = None
    api_type: str | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None
    prompt: PromptUse | None = None
    """The prompt kept at the provider that is filled in, by its id."""
    response_id: str | None = None
    """The answer that is fetched again."""
    agent_id: str | None = None
    """The agent at the provider that is asked to work."""
    characters: int | None = None
    """What is to be spoken, which some models are billed by; no answer tells it."""
    background: bool = False
    """The provider works on after it has answered, or the request fetches what was made that way."""


@dataclass(slots=True)
class Response:
    """What came back, as far as it was told."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    """As the vendor spells them, one per choice."""
    end_reason: str | None = None
    """Why the answer ended, in the convention's words, where the vendor's say only that it did."""
    usage: Counts | None = None
    counted_tokens: int | None = None
    service_tier: str | None = None
    price_context: dict[str, str] = field(default_factory=dict)
    """What else decides the price, as the vendor spells it: ``speed``, ``inference_geo``..."""
    stated_cost: float | Decimal | Fraction | None = None
    """USD, where the provider itself says what the call cost."""
    unmapped_counts: tuple[str, ...] = ()
    """Names of reported counts that may be billed and that no field of ``Usage`` holds."""
    additional_usage: tuple[tuple[str | None, Counts], ...] = ()
    """What is billed beside ``usage`` and not part of it: by which model (``None``: this one), and its counts."""
    fingerprint: str | None = None
    status: str | None = None
    conversation_id: str | None = None
    dimensions: int | None = None
    compacted: bool = False
    error: str | None = None
    """The vendor's machine-readable code of a failure told inside an answer that arrived."""
    failed: bool = False
    refused: bool = False
    """The model declined in words of its own, or the prompt was blocked; what a filter stopped otherwise has a finish
    reason or an error that says so."""
    http_status: int | None = None
    """Of an answer that refused, where the SDK makes an exception of it only later."""
    complete: bool = True
    """False when a stream ended without its format's end event."""
    background: bool = False
    """The object's own flag: it ran in the background, so that its usage may be reported on retrieval only."""

    @property
    def normalized_finish_reasons(self) -> tuple[str, ...]:
        """The finish reasons in the convention's words."""
        if self.end_reason is not None:
            return (self.end_reason,)
        return tuple([normalize_finish_reason(reason) for reason in self.finish_reasons])


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """How one stream behaved. Times are seconds from the moment the request was issued."""

    stream_outcome: str
    """``exhausted``, ``closed``, ``dropped``, ``cancelled``, ``failed`` or ``truncated``."""
    chunks: int = 0
    first_chunk: float | None = None
    first_token: float | None = None
    generation_time: float = 0.0
    """Seconds between the first token and the last chunk."""
    gaps: ChunkGaps | None = None
    """All of the times between chunks."""
    gap_mean: float | None = None
    gap_p95: float | None = None
    gap_max: float | None = None
    stalls: int = 0
    """Gaps over one second that are also over ten times the median."""
    at_exit: bool = False
    """The interpreter exited while the stream was open."""
