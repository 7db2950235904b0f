"""The calls and spans of a stretch of a program, taken in whatever else happens to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from .. import _api
from ..context.collect import Calls

__all__ = ["Recording", "recording"]


@dataclass(slots=True)
class Recording:
    """What was recorded so far."""

    calls: Calls
    """The finished calls, a ``Calls``."""
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """The finished spans."""
        return self.exporter.get_finished_spans()


@contextmanager
def recording() -> Iterator[Recording]:
    """Record every call of the process, on any thread, until the block ends.

    A program that is instrumented stays so, and its spans go where they went; another is instrumented for the block,
    and its spans go nowhere else.
    """
    found = Recording(Calls())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found.exporter))
    ours = _api._current is None
    made = _api.instrument(tracer_provider=provider) if ours else cast("_api.Instrumentation", _api._current)
    if not ours:
        add = getattr(made._runtime.pipeline.provider(), "add_span_processor", None)
        if callable(add):
            add(SimpleSpanProcessor(found.exporter))
    pricer = made._runtime.tracing.pricer
    if pricer is not None and not pricer.ready:
        pricer.load()  # or the first calls of a run would be told of late
    observers = made._runtime.tracing.observers

    def ended(call: Any) -> None:
        found.calls.add(call.record())

    observers.append(ended)
    recordings = made._runtime.tracing.recorders
    recordings.append(found.calls)
    try:
        yield found
        _api.flush(1.0)  # a stream that the program dropped ends on another thread
    finally:
        observers.remove(ended)
        recordings[:] = [calls for calls in recordings if calls is not found.calls]
        found.exporter.shutdown()
        if ours:
            _api.uninstrument()
            provider.shutdown()
