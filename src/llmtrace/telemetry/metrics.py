"""OpenTelemetry metrics of calls and operations; sampling does not affect them."""

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

_DURATION_BOUNDS = list(GAP_BOUNDS_SECONDS)
_TOKEN_BOUNDS = [4**step for step in range(14)]
_AGENT_DURATION_BOUNDS = [0.1 * 2**step for step in range(13)]
_WORKFLOW_DURATION_BOUNDS = [1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200]
_COST_BOUNDS = [1e-6 * 4**step for step in range(12)]
_MAX_DIMENSION_VALUES = 200
"""Distinct values of one dimension; further values are recorded as ``_other``."""
_MODALITIES = ("text", "image", "audio", "video")
_OPERATIONS_WITH_TOKENS = frozenset(
    {"chat", "text_completion", "embeddings", "generate_content", "rerank", "invoke_agent", "fetch_response"}
)

Dimensions = dict[str, Any]


class _Instruments:
    """Instruments of one meter provider."""

    def __init__(self, provider: MeterProvider, mode: str) -> None:
        meter = provider.get_meter("llmtrace", __version__)
        self.registry, self.legacy = mode in ("both", "registry"), mode in ("both", "legacy")

        def histogram(name: str, unit: str, bounds: list[Any]) -> Any:
            return meter.create_histogram(name, unit, explicit_bucket_boundaries_advisory=bounds)

        self.duration = histogram(names.METRIC_DURATION, "s", _DURATION_BOUNDS)
        self.first_chunk = histogram(names.METRIC_FIRST_CHUNK, "s", _DURATION_BOUNDS)
        self.chunk = histogram(names.METRIC_CHUNK, "s", _DURATION_BOUNDS)
        self.cost = meter.create_counter(names.METRIC_COST, "{USD}")
        self.call_cost = histogram(names.METRIC_CALL_COST, "{USD}", _COST_BOUNDS)
        self.unpriced = meter.create_counter(names.METRIC_UNPRICED, "{operation}")
        self.operation_durations = {
            "tool": histogram(names.METRIC_TOOL_DURATION, "s", _DURATION_BOUNDS),
            "agent": histogram(names.METRIC_AGENT_DURATION, "s", _AGENT_DURATION_BOUNDS),
            "workflow": histogram(names.METRIC_WORKFLOW_DURATION, "s", _WORKFLOW_DURATION_BOUNDS),
        }
        meter.create_observable_counter(names.METRIC_ERRORS, [_observe_errors], "{error}")
        if self.legacy:
            self.tokens = histogram(names.METRIC_TOKENS, "{token}", _TOKEN_BOUNDS)
        if self.registry:
            self.input = histogram(names.METRIC_INPUT, "{token}", _TOKEN_BOUNDS)
            self.output = histogram(names.METRIC_OUTPUT, "{token}", _TOKEN_BOUNDS)
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
            mode: ``both``, ``registry`` or ``legacy`` token metrics; ``off`` records nothing.
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
        self._dimensions = tuple(
            (_ATTRIBUTES.get(name, names.TAG + name), _reader(name)) for name in dimensions if name != "model_pinned"
        )
        self._seen: dict[str, set[Any]] = {name: set() for name, _ in self._dimensions}
        self._lock = threading.Lock()

    def record(self, call: OpenCall) -> None:
        """Record one call, sampled or not."""
        instruments = self._current_instruments()
        if instruments is None or call.outcome == "blocked":
            return
        dimensions = self._common(call)
        if call.has_own_span:
            self._record_times(instruments, call, dimensions)
            counts = call.response.usage
            if counts and call.request.operation in _OPERATIONS_WITH_TOKENS and not call.usage_on_other_span:
                _record_tokens(instruments, counts, dimensions)
        if call.priced is not None:
            _record_cost(instruments, call, call.priced, dimensions)

    def record_operation(self, operation: Operation) -> None:
        """Record one run of a tool, an agent or a workflow that has ended."""
        instruments = self._current_instruments()
        duration = None if instruments is None else instruments.operation_durations.get(operation.kind)
        if duration is None:
            return
        dimensions: Dimensions = {_OPERATION_NAMES[operation.kind]: operation.name}
        if operation.kind == "tool":
            dimensions[names.TOOL_TYPE] = "function"
            if operation.agent is not None:
                dimensions[names.AGENT_NAME] = operation.agent
        if isinstance(operation.error, Exception):
            dimensions[names.ERROR_TYPE] = error_type(operation.error)
        self._add_dimensions(operation.call_context, dimensions)
        if self._clean is not None:
            self._clean(dimensions)
        make_encodable(dimensions)
        duration.record(perf_counter() - operation.started, dimensions)

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

    def _common(self, call: OpenCall) -> Dimensions:
        request, response = call.request, call.response
        dimensions: Dimensions = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
        if request.model is not None:
            dimensions[names.REQUEST_MODEL] = request.model
        if (model := label_of(response.model)) is not None:
            dimensions[names.RESPONSE_MODEL] = model
        if call.server is not None:
            dimensions[names.SERVER_ADDRESS], dimensions[names.SERVER_PORT] = call.server
        if self._with_pinned and request.model is not None:
            dimensions[names.MODEL_PINNED] = is_pinned(request.model)
        self._add_dimensions(call.call_context, dimensions)
        if self._clean is not None:
            self._clean(dimensions)
        make_encodable(dimensions)
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

    def _record_times(self, instruments: _Instruments, call: OpenCall, dimensions: Dimensions) -> None:
        with_error = (
            dimensions if call.error_type is None else {**dimensions, names.ERROR_TYPE: encodable(call.error_type)}
        )
        instruments.duration.record(call.duration, with_error)
        timing = call.timing
        if timing is None:
            return
        if timing.first_chunk is not None:
            instruments.first_chunk.record(timing.first_chunk, dimensions)
        if timing.gaps is not None:
            record_gaps(instruments.chunk, timing.gaps, dimensions)


def _record_tokens(instruments: _Instruments, counts: Counts, dimensions: Dimensions) -> None:
    for field in ("input", "output"):
        count = counts.get(field)
        if count is None:
            continue
        if instruments.legacy:
            instruments.tokens.record(count, {**dimensions, names.TOKEN_TYPE: field})
        if instruments.registry:
            (instruments.input if field == "input" else instruments.output).record(count, dimensions)
    if instruments.registry:
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


def _record_cost(instruments: _Instruments, call: OpenCall, priced: PricedCall, dimensions: Dimensions) -> None:
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


_OPERATION_NAMES = {"tool": names.TOOL_NAME, "agent": names.AGENT_NAME, "workflow": names.WORKFLOW_NAME}
_ATTRIBUTES = {
    "feature": names.FEATURE,
    "tenant": names.TENANT,
    "prompt": names.PROMPT_NAME,
    "prompt_version": names.PROMPT_VERSION,
}


def _reader(name: str) -> Callable[[CallContext], Any]:
    """Return a function that reads the dimension ``name`` from the context of a call or an operation."""
    match name:
        case "feature":
            return lambda context: context.feature
        case "tenant":
            return lambda context: context.tenant
        case "prompt":
            return lambda context: None if context.prompt is None else context.prompt.name
        case "prompt_version":
            return lambda context: None if context.prompt is None else context.prompt.version
    return lambda context: context.metadata.get(name)
