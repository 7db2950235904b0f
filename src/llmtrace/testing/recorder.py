"""Recording of the calls and spans of a part of a program, independent of exporters and sampling."""

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


@dataclass(slots=True)
class Recording:
    """The calls and spans recorded so far."""

    calls: Calls
    """Finished calls, in the order in which they ended."""
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Finished spans, in the order in which they ended."""
        return self.exporter.get_finished_spans()


@contextmanager
def recording() -> Iterator[Recording]:
    """Record every call of the process, on any thread, until the block ends.

    An instrumented program stays instrumented, and its spans are still exported. Another program is instrumented for
    the block only, and its spans are not exported.

    Yields:
        A ``Recording`` that grows while the block runs.
    """
    record = Recording(Calls())
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(record.exporter))
    ours = _api._current is None
    instrumentation = _api.instrument(tracer_provider=provider) if ours else cast("_api.Instrumentation", _api._current)
    if not ours:
        add = getattr(instrumentation._runtime.pipeline.provider(), "add_span_processor", None)
        if callable(add):
            add(SimpleSpanProcessor(record.exporter))
    pricer = instrumentation._runtime.services.pricer
    if pricer is not None and not pricer.ready:
        pricer.load()  # otherwise the first calls are priced in the background, and recorded late
    observers = instrumentation._runtime.services.observers

    def ended(call: Any) -> None:
        record.calls.add(call.record())

    observers.append(ended)
    recorders = instrumentation._runtime.services.recorders
    recorders.append(record.calls)
    try:
        yield record
        _api.flush(1.0)  # spans of dropped streams end on another thread
    finally:
        observers.remove(ended)
        recorders[:] = [calls for calls in recorders if calls is not record.calls]
        record.exporter.shutdown()
        if ours:
            _api.uninstrument()
            provider.shutdown()
