"""OpenTelemetry metrics of calls and operations; sampling does not affect them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from opentelemetry.metrics import CallbackOptions, MeterProvider, NoOpMeterProvider, Observation

from .. import __version__, _errors
from .._compat.span_attributes import make_encodable
from .._text import encodable
from ..capture.failure import error_type
from ..context.operation import Operation
from ..model import INFERENCE_OPERATIONS, CallContext, Counts, is_pinned
from ..model.call_stages import FinishedCall
from ..model.chunk_gaps import GAP_BOUNDS_SECONDS
from ..pricing.money import UNIT, PricedCall
from . import names
from .content import label_of
from .histograms import record_gaps

_DURATION_BOUNDS = list(GAP_BOUNDS_SECONDS)
_TOKEN_BOUNDS = [4**step for step in range(14)]
_AGENT_BOUNDS = [0.1 * 2**step for step in range(13)]
_WORKFLOW_BOUNDS = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200]
_COST_BOUNDS = [1e-6 * 4**step for step in range(12)]
_MAX_DIMENSION_VALUES = 200
"""Distinct values of one dimension; further values are recorded as ``_other``."""
_MODALITIES = ("text", "image", "audio")
"""Modalities that the convention has; tokens of any other are ``unknown``."""
_OPERATIONS_WITH_TOKENS = frozenset({*INFERENCE_OPERATIONS, "embeddings", "rerank", "invoke_agent", "fetch_response"})
_CALL_COUNT_BOUNDS = [2**step for step in range(8)]
_TOTALS = {
    (False, "input"): names.METRIC_INPUT,
    (False, "output"): names.METRIC_OUTPUT,
    (True, "input"): names.METRIC_EMBEDDINGS_INPUT,
}

Dimensions = dict[str, Any]


class _Instruments:
    """Instruments of one meter provider."""

    def __init__(self, provider: MeterProvider, mode: str) -> None:
        meter = provider.get_meter("llmtrace", __version__)
        with_old, with_new = mode != "registry", mode != "legacy"

        def histogram(name: str, unit: str, bounds: list[Any]) -> Any:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds)

        def seconds(name: str, bounds: list[Any] = _DURATION_BOUNDS) -> Any:
            return histogram(name, "s", bounds)

        def chosen(old: Any, new: Any) -> list[Any]:
            return [*([old] if with_old else ()), *([new] if with_new else ())]

        duration, agent_duration = seconds(names.METRIC_DURATION), seconds(names.METRIC_AGENT_DURATION, _AGENT_BOUNDS)
        first_chunk, chunk = seconds(names.METRIC_OLD_FIRST_CHUNK), seconds(names.METRIC_OLD_CHUNK)
        inference_times = _Times(
            chosen(duration, seconds(names.METRIC_INFERENCE_DURATION)),
            chosen(first_chunk, seconds(names.METRIC_FIRST_CHUNK)),
            chosen(chunk, seconds(names.METRIC_CHUNK)),
        )
        self.times: dict[str, _Times] = dict.fromkeys(INFERENCE_OPERATIONS, inference_times)
        """Instruments for the times of a call, by its operation."""
        self.times["embeddings"] = _Times(chosen(duration, seconds(names.METRIC_EMBEDDINGS_DURATION)), [], [])
        self.other_times = _Times([duration], [first_chunk], [chunk])
        self.operation_durations = {
            "tool": [seconds(names.METRIC_TOOL_DURATION)],
            "agent": [agent_duration],
            "workflow": chosen(seconds(names.METRIC_OLD_WORKFLOW_DURATION, _WORKFLOW_BOUNDS), agent_duration),
            "retrieval": [seconds(names.METRIC_RETRIEVAL_DURATION)],
        }
        self.inference_calls = histogram(names.METRIC_AGENT_INFERENCE_CALLS, "{inference_call}", _CALL_COUNT_BOUNDS)
        self.tool_calls = histogram(names.METRIC_AGENT_TOOL_CALLS, "{tool_call}", _CALL_COUNT_BOUNDS)
        self.cost = meter.create_counter(names.METRIC_COST, "{USD}")
        self.call_cost = histogram(names.METRIC_CALL_COST, "{USD}", _COST_BOUNDS)
        self.unpriced = meter.create_counter(names.METRIC_UNPRICED, "{operation}")
        meter.create_observable_counter(names.METRIC_ERRORS, [_observe_errors], "{error}")
        self.old_tokens = histogram(names.METRIC_OLD_TOKENS, "{token}", _TOKEN_BOUNDS) if with_old else None
        self.totals: dict[tuple[bool, str], Any] = {}
        """Histograms of tokens: true for embeddings, and the field."""
        self.usage: dict[str, Any] = {}
        if with_new:
            for key, name in _TOTALS.items():
                self.totals[key] = histogram(name, "{token}", _TOKEN_BOUNDS)
            for field, name in names.METRIC_USAGE.items():
                self.usage[field] = meter.create_counter(name, "{token}")


class _Times(NamedTuple):
    """Histograms of seconds; each measurement is recorded in all of a list."""

    durations: list[Any]
    first_chunks: list[Any]
    chunks: list[Any]


def _observe_errors(options: CallbackOptions) -> Iterable[Observation]:
    return [Observation(sum(_errors.internal_errors.values()))]


class Metrics:
    """Recorder of every call and operation that has ended, sampled or not."""

    def __init__(
        self,
        mode: str,
        dimensions: tuple[str, ...],
        provider: Callable[[], MeterProvider | None],
        clean: Callable[[Dimensions], None] | None = None,
    ) -> None:
        """Store the settings; instruments are created with the first call.

        Args:
            mode: ``registry`` records the names of GenAI v0.1.0 only, ``legacy`` those that it replaces, ``both`` all.
                Metrics without a predecessor are always recorded. ``off`` records nothing.
            dimensions: ``feature``, ``tenant``, ``prompt``, ``prompt_version``, ``model_pinned`` or metadata keys.
            provider: Returns the current meter provider; ``None`` records nothing.
            clean: Redacts dimensions, in place.
        """
        self._mode = mode
        self._clean = clean
        self._current_provider = provider
        self._provider: MeterProvider | None = None
        self._instruments: _Instruments | None = None
        self._with_pinned = "model_pinned" in dimensions
        self._dimensions = [_dimension(name) for name in dimensions if name != "model_pinned"]
        self._seen: dict[str, set[Any]] = {name: set() for name, _ in self._dimensions}
        self._lock = threading.Lock()

    def record(self, call: FinishedCall) -> None:
        """Record one call, sampled or not."""
        instruments = self._current_instruments()
        if instruments is None or call.outcome == "blocked":
            return
        dimensions = self._common(call)
        if call.has_own_span:
            self._record_times(instruments, call, dimensions)
            counts = call.response.usage
            if counts and call.request.operation in _OPERATIONS_WITH_TOKENS and not call.usage_on_other_span:
                _record_tokens(instruments, call.request.operation, counts, dimensions)
        if call.priced is not None:
            _record_cost(instruments, call, call.priced, dimensions)

    def record_operation(self, operation: Operation) -> None:
        """Record one run of a tool, an agent, a workflow or a search that has ended."""
        instruments = self._current_instruments()
        if instruments is None or (durations := instruments.operation_durations.get(operation.kind)) is None:
            return
        dimensions: Dimensions = {}
        if operation.name is not None:
            dimensions.update(dict.fromkeys(names.NAME_KEYS[operation.kind], operation.name))
        if operation.kind == "tool":
            dimensions[names.TOOL_TYPE] = "function"
            if operation.agent is not None:
                dimensions[names.AGENT_NAME] = operation.agent
        self._add_dimensions(operation.call_context, dimensions)
        self._make_exportable(dimensions)
        if operation.kind == "agent":
            instruments.inference_calls.record(next(operation.inference_calls), dimensions)
            instruments.tool_calls.record(next(operation.tool_calls), dimensions)
        if isinstance(operation.error, Exception):
            dimensions[names.ERROR_TYPE] = encodable(error_type(operation.error))
        for duration in durations:
            duration.record(operation.duration, dimensions)

    def _make_exportable(self, dimensions: Dimensions) -> None:
        if self._clean is not None:
            self._clean(dimensions)
        make_encodable(dimensions)

    def _current_instruments(self) -> _Instruments | None:
        if self._mode == "off":
            return None
        provider = self._current_provider()
        if provider is not self._provider:
            with self._lock:
                self._instruments = None
                if provider is not None and not isinstance(provider, NoOpMeterProvider):
                    self._instruments = _Instruments(provider, self._mode)
                self._provider = provider
        return self._instruments

    def _common(self, call: FinishedCall) -> Dimensions:
        request, response = call.request, call.response
        operation = request.operation
        dimensions: Dimensions = {names.operation_key(operation): operation, names.PROVIDER: call.provider}
        if request.model is not None:
            dimensions[names.REQUEST_MODEL] = request.model
        if (model := label_of(response.model)) is not None:
            dimensions[names.RESPONSE_MODEL] = model
        if call.server is not None:
            dimensions[names.SERVER_ADDRESS], dimensions[names.SERVER_PORT] = call.server
        if self._with_pinned and request.model is not None:
            dimensions[names.MODEL_PINNED] = is_pinned(request.model)
        self._add_dimensions(call.call_context, dimensions)
        self._make_exportable(dimensions)
        return dimensions

    def _add_dimensions(self, context: CallContext, into: Dimensions) -> None:
        for name, read in self._dimensions:
            value = read(context)
            if value is not None:
                into[name] = self._capped(name, value)

    def _capped(self, name: str, value: Any) -> Any:
        seen = self._seen[name]
        if value in seen:
            return value
        with self._lock:
            if len(seen) >= _MAX_DIMENSION_VALUES:
                return "_other"
            seen.add(value)
        return value

    def _record_times(self, instruments: _Instruments, call: FinishedCall, dimensions: Dimensions) -> None:
        error = call.error_type
        with_error = dimensions if error is None else {**dimensions, names.ERROR_TYPE: encodable(error)}
        times = instruments.times.get(call.request.operation, instruments.other_times)
        for duration in times.durations:
            duration.record(call.duration, with_error)
        timing = call.timing
        if timing is None:
            return
        if timing.first_chunk is not None:
            for first_chunk in times.first_chunks:
                first_chunk.record(timing.first_chunk, dimensions)
        if timing.gaps is not None:
            for chunk in times.chunks:
                record_gaps(chunk, timing.gaps, dimensions)


def _record_tokens(instruments: _Instruments, operation: str, counts: Counts, dimensions: Dimensions) -> None:
    is_embedding = operation == "embeddings"
    for field in ("input", "output"):
        count = counts.get(field)
        if count is None:
            continue
        if instruments.old_tokens is not None:
            instruments.old_tokens.record(count, {**dimensions, names.TOKEN_TYPE: field})
        if (total := instruments.totals.get((is_embedding, field))) is not None:
            total.record(count, dimensions)
    if is_embedding:
        return
    for field, counter in instruments.usage.items():
        for modality, count in _by_modality(counts, field):
            counter.add(count, {**dimensions, names.MODALITY: modality})


def _by_modality(counts: Counts, field: str) -> Iterable[tuple[str, float]]:
    rest = counts.get(field, 0)
    for modality in _MODALITIES:
        count = min(counts.get(f"{modality}_{field}", 0), rest)
        if count:
            rest -= count
            yield modality, count
    if rest:
        yield "unknown", rest


def _record_cost(instruments: _Instruments, call: FinishedCall, priced: PricedCall, dimensions: Dimensions) -> None:
    if priced.reason is not None:
        # Skip calls that the provider rejected: they are not billed.
        if call.outcome != "error" or call.response.usage:
            instruments.unpriced.add(1, {**dimensions, names.COST_REASON: priced.reason})
        return
    instruments.call_cost.record(priced.total, dimensions)
    has_parts = False
    for part, units in priced.amounts:
        has_parts = True
        instruments.cost.add(float(units / UNIT), {**dimensions, names.COST_CLASS: part})
    if not has_parts and priced.units:
        instruments.cost.add(priced.total, {**dimensions, names.COST_CLASS: "total"})


_Dimension = tuple[str, Callable[[CallContext], Any]]
"""Attribute of a dimension, and its reader from the context of a call or an operation."""
_DIMENSIONS: dict[str, _Dimension] = {
    "feature": (names.FEATURE, lambda context: context.feature),
    "tenant": (names.TENANT, lambda context: context.tenant),
    "prompt": (names.PROMPT_NAME, lambda context: context.prompt and context.prompt.name),
    "prompt_version": (names.PROMPT_VERSION, lambda context: context.prompt and context.prompt.version),
}


def _dimension(name: str) -> _Dimension:
    return _DIMENSIONS.get(name) or (names.TAG + name, lambda context: context.metadata.get(name))
