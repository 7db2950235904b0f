"""One exchange with a provider: request, response and stream timing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any

from .call import PromptUse
from .chunk_gaps import ChunkGaps
from .document import Document
from .finish_reasons import normalize_finish_reason
from .usage import Counts

# Not frozen: one of each is created per call, and frozen dataclasses cost three times as much.


@dataclass(slots=True)
class Request:
    """Properties of a request that are recorded."""

    operation: str
    """Name of the operation. Empty if the request starts no work of a model, so that it is not traced."""
    model: str | None = None
    stream: bool = False
    params: dict[str, Any] = field(default_factory=dict)
    """Request parameters by the convention's name without prefix, such as ``temperature`` and ``max_tokens``."""
    vendor_params: dict[str, Any] = field(default_factory=dict)
    """All request parameters by the vendor's own names."""
    output_type: str | None = None
    service_tier: str | None = None
    api_type: str | None = None
    previous_response_id: str | None = None
    conversation_id: str | None = None
    prompt: PromptUse | None = None
    """Prompt stored at the provider, identified by its id."""
    response_id: str | None = None
    """Id of the response that is fetched again."""
    batch_id: str | None = None
    """Id of the batch whose item is read."""
    custom_id: str | None = None
    """The caller's id of an item in a batch, unique there."""
    agent_id: str | None = None
    """Id of the agent hosted at the provider."""
    guardrail_id: str | None = None
    """Id or ARN of the guardrail that Bedrock applies."""
    knowledge_base_id: str | None = None
    """Id of the knowledge base that Bedrock searches."""
    characters: int | None = None
    """Length of the input text of a speech request. Some models are billed by it, and no response reports it."""
    background: bool = False
    """True if the provider continues to work after its response, or if the request fetches such an object."""


@dataclass(slots=True)
class Response:
    """Properties of a response that are recorded."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    """Finish reasons in the vendor's spelling, one per choice."""
    end_reason: str | None = None
    """Finish reason in the convention's terms, for vendors whose own reason does not contain it."""
    usage: Counts | None = None
    counted_tokens: int | None = None
    service_tier: str | None = None
    price_context: dict[str, str] = field(default_factory=dict)
    """Further values that decide the price, in the vendor's spelling, such as ``speed`` and ``inference_geo``."""
    stated_cost: float | Decimal | Fraction | None = None
    """Cost in USD, if the provider states it."""
    unmapped_counts: tuple[str, ...] = ()
    """Names of reported counts that may be billed but have no field in ``Usage``."""
    additional_usage: tuple[tuple[str | None, Counts], ...] = ()
    """Usage billed in addition to ``usage``: pairs of model (``None`` for this one) and counts."""
    server_times: Mapping[str, float] | None = None
    """Seconds that the server reports, by stage: ``queue``, ``load``, ``prompt``, ``completion`` and ``total``."""
    results: tuple[Any, ...] = ()
    """Results inside the response, each of which is a call of its own, once per process."""
    documents: tuple[Document, ...] = ()
    """Documents that a reranker kept, best first. The id is the position in the request."""
    fingerprint: str | None = None
    status: str | None = None
    conversation_id: str | None = None
    dimensions: int | None = None
    compacted: bool = False
    error: str | None = None
    """The vendor's machine-readable code of an error reported in the body."""
    failed: bool = False
    refused: bool = False
    """True if the model declined in its own text or the prompt was blocked. Other filters show in a finish reason or an
    error."""
    http_status: int | None = None
    """HTTP status of an error response that the SDK turns into an exception later."""
    complete: bool = True
    """False if a stream ended without the end event of its format."""
    background: bool = False
    """The object's own flag: it ran in the background, so its usage may be reported only when it is fetched."""

    @property
    def normalized_finish_reasons(self) -> tuple[str, ...]:
        """Finish reasons in the terms of the OpenTelemetry convention."""
        if self.end_reason is not None:
            return (self.end_reason,)
        return tuple([normalize_finish_reason(reason) for reason in self.finish_reasons])


@dataclass(frozen=True, slots=True)
class StreamTiming:
    """Timing and outcome of one stream. Times are in seconds since the request was issued."""

    stream_outcome: str
    """Outcome: ``exhausted``, ``closed``, ``dropped``, ``cancelled``, ``failed`` or ``truncated``."""
    chunks: int = 0
    first_chunk: float | None = None
    first_token: float | None = None
    generation_time: float = 0.0
    """Seconds between the first token and the last chunk."""
    gaps: ChunkGaps | None = None
    """All times between chunks."""
    gap_mean: float | None = None
    gap_p95: float | None = None
    gap_max: float | None = None
    stalls: int = 0
    """Number of gaps longer than one second and ten times the median."""
    at_exit: bool = False
    """True if the interpreter exited while the stream was open."""
