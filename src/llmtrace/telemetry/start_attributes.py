"""Settings of the emitters of spans, and detection of tracers that need start attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.trace import Tracer

from .._compat.span_attributes import span_processors
from .content_policy import NO_CONTENT, ContentPolicy
from .events import Events

_IGNORE_ATTRIBUTES = (sampling.StaticSampler, sampling.TraceIdRatioBased)
_EMPTY_ON_START = (sdk.SpanProcessor.on_start, export.BatchSpanProcessor.on_start, export.SimpleSpanProcessor.on_start)


@dataclass(eq=False)
class SpanWriter:
    """Settings that the emitters of spans share."""

    tracer: Callable[[str], Tracer]
    _: KW_ONLY
    content: ContentPolicy = NO_CONTENT
    events: Events | None = None
    bridges: Callable[[], Sequence[str]] | None = None
    """Names of the bridges to apply here, since no exporter of llmtrace will apply them."""

    def __post_init__(self) -> None:
        self.start_attributes: StartAttributes = StartAttributes()


class StartAttributes:
    """Cache of the tracers whose sampler or span processor may read the attributes of a starting span.

    To skip these attributes where none does saves 10 % of the time of a call.
    """

    __slots__ = ("_by_tracer",)

    def __init__(self) -> None:
        self._by_tracer: dict[int, tuple[Any, bool, Tracer]] = {}
        """Processors, result and tracer by the tracer's ``id``.

        Not every tracer is hashable. The entry references its tracer, so that no other tracer can get the same id.
        """

    def needed_by(self, tracer: Tracer) -> bool:
        """Return False only if neither the sampler nor a processor of ``tracer`` reads start attributes."""
        processors = span_processors(tracer)
        entry = self._by_tracer.get(id(tracer))
        if entry is None or entry[0] is not processors:  # the SDK replaces the tuple when it adds a processor
            entry = self._by_tracer[id(tracer)] = processors, _reads_attributes(tracer, processors), tracer
        return entry[1]


def _reads_attributes(tracer: Tracer, processors: Iterable[Any] | None) -> bool:
    if type(tracer) is not sdk.Tracer or processors is None:
        return True
    return _sampler_reads(tracer.sampler) or any(
        getattr(processor.on_start, "__func__", None) not in _EMPTY_ON_START for processor in processors
    )


def _sampler_reads(sampler: Any) -> bool:
    if type(sampler) in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return any(_sampler_reads(delegate) for delegate in vars(sampler).values())
    return type(sampler) not in _IGNORE_ATTRIBUTES
