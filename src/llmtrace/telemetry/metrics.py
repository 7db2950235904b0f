"""Calls as OpenTelemetry metrics: exact whatever the sampler does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation

from .. import __version__, _errors
from .._text import encodable
from ..capture.call import OpenCall
from ..capture.failure import error_type
from ..context.operation import Operation
from ..model import CallContext, Counts, is_pinned
from ..model.chunk_gaps import GAP_BOUNDS_SECONDS
from ..pricing.money import UNIT, PricedCall
from . import names
from .content import label_of
from .fast_attributes import make_encodable
from .histograms import record_gaps

__all__ = ["Metrics"]

_SECONDS = list(GAP_BOUNDS_SECONDS)
_TOKENS = [4**step for step in range(14)]
_AGENT_SECONDS = [0.1 * 2**step for step in range(13)]
_WORKFLOW_SECONDS = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200]
_USD = [1e-6 * 4**step for step in range(12)]
_MAX_DIMENSION_VALUES = 200
"""Values that one dimension may have; any other is ``_other``."""
_MODALITIES = ("text", "image", "audio", "video")
_COUNTED = frozenset(
    {"chat", "text_completion", "embeddings", "generate_content", "rerank", "invoke_agent", "fetch_response"}
)

Dimensions = dict[str, Any]


class _Instruments:
    """What is recorded to, of one meter provider."""

    def __init__(self, provider: MeterProvider, mode: str) -> None:
        meter = provider.get_meter("llmtrace", __version__)
        self.registry, self.legacy = mode in ("both", "registry"), mode in ("both", "legacy")

        def histogram(name: str, unit: str, bounds: list[Any]) -> Any:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds)

        self.duration = histogram(names.METRIC_DURATION, "s", _SECONDS)
        self.first_chunk = histogram(names.METRIC_FIRST_CHUNK, "s", _SECONDS)
        self.chunk = histogram(names.METRIC_CHUNK, "s", _SECONDS)
        self.cost = meter.create_counter(names.METRIC_COST, "{USD}")
        self.call_cost = histogram(names.METRIC_CALL_COST, "{USD}", _USD)
        self.unpriced = meter.create_counter(names.METRIC_UNPRICED, "{operation}")
        self.work = {
            "tool": histogram(names.METRIC_TOOL_DURATION, "s", _SECONDS),
            "agent": histogram(names.METRIC_AGENT_DURATION, "s", _AGENT_SECONDS),
            "workflow": histogram(names.METRIC_WORKFLOW_DURATION, "s", _WORKFLOW_SECONDS),
        }
        meter.create_observable_counter(names.METRIC_FAULTS, [_observe_errors], "{error}")
        if self.legacy:
            self.tokens = histogram(names.METRIC_TOKENS, "{token}", _TOKENS)
        if self.registry:
            self.input = histogram(names.METRIC_INPUT, "{token}", _TOKENS)
            self.output = histogram(names.METRIC_OUTPUT, "{token}", _TOKENS)
            self.usage = {
                field: meter.create_counter(names.METRIC_USAGE + name, "{token}")
                for field, name in (
                    ("input", "input_tokens"),
                    ("output", "output_tokens"),
                    ("cache_read", "cache_read.input_tokens"),
                    ("cache_write", "cache_write.input_tokens"),
                    ("reasoning", "reasoning.output_tokens"),
                )
            }


def _observe_errors(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(sum(_errors.internal_errors.values()))]


class Metrics:
    """Records every call that has ended; ``record`` is an observer of calls."""

    def __init__(
        self,
        mode: str,
        dimensions: tuple[str, ...],
        provider: Callable[[], MeterProvider | None],
        clean: Callable[[Dimensions], None] | None = None,
    ) -> None:
        """Set up, without touching OpenTelemetry's metrics before the first call.

        Args:
            mode: ``both``, ``registry`` or ``legacy`` token metrics; ``off`` records nothing.
            dimensions: ``feature``, ``tenant``, ``prompt``, ``prompt_version``, ``model_pinned`` or metadata keys.
            provider: What knows where to at the moment; ``None`` is nowhere.
            clean: Redacts dimensions, in place.
        """
        self._mode = mode
        self._clean = clean
        self._find = provider
        self._provider: MeterProvider | None = None
        self._instruments: _Instruments | None = None
        self._dimensions = tuple((_ATTRIBUTES.get(name, names.TAG + name), _reader(name)) for name in dimensions)
        self._seen: dict[str, set[Any]] = {name: set() for name, _ in self._dimensions}
        self._lock = threading.Lock()

    def record(self, call: OpenCall) -> None:
        """Record one call, sampled or not."""
        instruments = self._ready()
        if instruments is None or call.outcome == "blocked":
            return
        found = self._common(call)
        if call.has_own_span:
            self._record_times(instruments, call, found)
            counts = call.response.usage
            if counts and call.request.operation in _COUNTED and not call.usage_on_other_span:
                _record_tokens(instruments, counts, found)
        if call.priced is not None:
            _record_cost(instruments, call, call.priced, found)

    def record_operation(self, work: Operation) -> None:
        """Record one run of a tool, an agent or a workflow that has ended."""
        instruments = self._ready()
        duration = None if instruments is None else instruments.work.get(work.kind)
        if duration is None:
            return
        found: Dimensions = {_OPERATIONS[work.kind]: work.name}
        if work.kind == "tool":
            found[names.TOOL_TYPE] = "function"
            if work.agent is not None:
                found[names.AGENT_NAME] = work.agent
        if isinstance(work.error, Exception):
            found[names.ERROR_TYPE] = error_type(work.error)
        for name, read in self._dimensions:
            value = read(work.scope, None)
            if value is not None:
                found[name] = self._capped(name, value)
        if self._clean is not None:
            self._clean(found)
        make_encodable(found)
        duration.record(perf_counter() - work.started, found)

    def _ready(self) -> _Instruments | None:
        if self._mode == "off":
            return None
        provider = self._find()
        if provider is not self._provider:
            with self._lock:
                self._instruments = None
                if provider is not None and not isinstance(provider, NoOpMeterProvider):
                    self._instruments = _Instruments(provider, self._mode)
                self._provider = provider
        return self._instruments

    def _common(self, call: OpenCall) -> Dimensions:
        request, answer = call.request, call.response
        found: Dimensions = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
        if request.model is not None:
            found[names.REQUEST_MODEL] = request.model
        if (model := label_of(answer.model)) is not None:
            found[names.RESPONSE_MODEL] = model
        if call.server is not None:
            found[names.SERVER_ADDRESS], found[names.SERVER_PORT] = call.server
        for name, read in self._dimensions:
            value = read(call.call_context, request.model)
            if value is not None:
                found[name] = self._capped(name, value)
        if self._clean is not None:
            self._clean(found)
        make_encodable(found)
        return found

    def _capped(self, name: str, value: Any) -> Any:
        seen = self._seen[name]
        if value in seen:
            return value
        with self._lock:
            if len(seen) >= _MAX_DIMENSION_VALUES:
                return "_other"
            seen.add(value)
        return value

    def _record_times(self, instruments: _Instruments, call: OpenCall, found: Dimensions) -> None:
        ended = found if call.error_type is None else {**found, names.ERROR_TYPE: encodable(call.error_type)}
        instruments.duration.record(call.duration, ended)
        timing = call.timing
        if timing is None:
            return
        if timing.first_chunk is not None:
            instruments.first_chunk.record(timing.first_chunk, found)
        if timing.gaps is not None:
            record_gaps(instruments.chunk, timing.gaps, found)


def _record_tokens(instruments: _Instruments, counts: Counts, found: Dimensions) -> None:
    for field in ("input", "output"):
        count = counts.get(field)
        if count is None:
            continue
        if instruments.legacy:
            instruments.tokens.record(count, {**found, names.TOKEN_TYPE: field})
        if instruments.registry:
            (instruments.input if field == "input" else instruments.output).record(count, found)
    if instruments.registry:
        for field, counter in instruments.usage.items():
            for modality, count in _by_modality(counts, field):
                counter.add(count, {**found, names.MODALITY: modality})


def _by_modality(counts: Counts, field: str) -> Iterable[tuple[str, float]]:
    rest = counts.get(field, 0)
    for modality in _MODALITIES:
        count = min(counts.get(f"{modality}_{field}", 0), rest)
        if count:
            rest -= count
            yield modality, count
    if rest:
        yield "unknown", rest


def _record_cost(instruments: _Instruments, call: OpenCall, priced: PricedCall, found: Dimensions) -> None:
    if priced.reason is not None:
        # What the provider refused was not billed.
        if call.outcome != "error" or call.response.usage:
            instruments.unpriced.add(1, {**found, names.COST_REASON: priced.reason})
        return
    instruments.call_cost.record(priced.total, found)
    told = False
    for part, units in priced.amounts:
        told = True
        instruments.cost.add(float(units / UNIT), {**found, names.COST_CLASS: part})
    if not told and priced.units:
        instruments.cost.add(priced.total, {**found, names.COST_CLASS: "total"})


_OPERATIONS = {"tool": names.TOOL_NAME, "agent": names.AGENT_NAME, "workflow": names.WORKFLOW_NAME}
_ATTRIBUTES = {
    "feature": names.FEATURE,
    "tenant": names.TENANT,
    "prompt": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
    "model_pinned": names.MODEL_PINNED,
}


def _reader(name: str) -> Callable[[CallContext, str | None], Any]:
    """Return how to read a dimension from the context of a call or operation, and the requested model."""
    match name:
        case "feature" | "tenant":
            return lambda context, model: getattr(context, name)
        case "prompt":
            return lambda context, model: None if context.prompt is None else context.prompt.name
        case "prompt_version":
            return lambda context, model: None if context.prompt is None else context.prompt.version
        case "model_pinned":
            return lambda context, model: None if model is None else is_pinned(model)
    return lambda context, model: context.metadata.get(name)
