"""Whether anybody sees the attributes that a span is started with: the SDK takes a tenth of a call to keep them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk import trace as sdk
from opentelemetry.sdk.trace import export, sampling
from opentelemetry.trace import Tracer

__all__ = ["StartAttributes"]

_IGNORE_ATTRIBUTES = (sampling.StaticSampler, sampling.TraceIdRatioBased)
_DO_NOTHING = (
    sdk.SpanProcessor.on_start,
    export.BatchSpanProcessor.on_start,
    export.SimpleSpanProcessor.on_start,
)


class StartAttributes:
    """Knows of each tracer whether its sampler or a processor may look at a span that starts."""

    __slots__ = ("_by_tracer",)

    def __init__(self) -> None:
        self._by_tracer: dict[int, tuple[Any, bool, Tracer]] = {}
        """By identity, as not every tracer has a hash; what is known holds the tracer, so no other gets its number."""

    def needed_by(self, tracer: Tracer) -> bool:
        """True wherever it is not certain that nobody looks."""
        processors = getattr(getattr(tracer, "span_processor", None), "_span_processors", None)
        known = self._by_tracer.get(id(tracer))
        if known is None or known[0] is not processors:  # the SDK replaces the tuple when one is added
            known = self._by_tracer[id(tracer)] = processors, _look(tracer, processors), tracer
        return known[1]


def _look(tracer: Tracer, processors: Iterable[Any] | None) -> bool:
    if type(tracer) is not sdk.Tracer or processors is None:
        return True
    return _reads(tracer.sampler) or any(
        getattr(each.on_start, "__func__", None) not in _DO_NOTHING for each in processors
    )


def _reads(sampler: Any) -> bool:
    if type(sampler) in (sampling.ParentBased, sampling.ParentBasedTraceIdRatio):
        return any(_reads(each) for each in vars(sampler).values())
    return type(sampler) not in _IGNORE_ATTRIBUTES
