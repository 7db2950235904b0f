"""The OpenAI Agents SDK: workflows, agents, tools, handoffs and guardrails, as its own spans report them.

The spans are hooked, and not received by a trace processor: programs replace all processors to send nothing to OpenAI.
"""

from __future__ import annotations

from typing import Any

from .._errors import log_internal_error
from ..providers._patches import Patches
from ._runs import OpenRuns, ReportedError, parse_json, records_operations

_KINDS = {"agent": "agent", "function": "tool", "guardrail": "workflow", "custom": "workflow"}
"""Kind of operation by type of span. Spans of other types have none: models are traced by their client library."""

_runs = OpenRuns("openai_agents")


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``agents.tracing.spans``."""
    patches = Patches()
    patches.wrap_in(module, "SpanImpl", "start", _start_span)
    patches.wrap_in(module, "SpanImpl", "finish", _finish_span)
    patches.when_imported("agents.tracing.traces", _wrap_trace)
    return patches


def _wrap_trace(module: Any, patches: Patches) -> None:
    for name in ("TraceImpl", "ReattachedTrace"):  # the trace of a run that is resumed, in newer releases
        if name == "TraceImpl" or hasattr(module, name):
            patches.wrap_in(module, name, "start", _start_trace)
            patches.wrap_in(module, name, "finish", _finish_trace)


def _start_trace(wrapped: Any, trace: Any, args: Any, kwargs: Any) -> Any:
    try:
        if records_operations() and _runs.find(trace.trace_id) is None:
            _begin(trace.trace_id, None, "workflow", trace.name, args, kwargs, session=trace.group_id)
    except Exception:
        log_internal_error("begin a workflow of the Agents SDK")
    return wrapped(*args, **kwargs)


def _start_span(wrapped: Any, span: Any, args: Any, kwargs: Any) -> Any:
    try:
        if records_operations() and span.started_at is None:
            parent = span.parent_id or span.trace_id
            kind = _KINDS.get(span.span_data.type)
            if kind is None:
                _runs.skip(span.span_id, parent)
            else:
                _begin(span.span_id, parent, kind, span.span_data.name, args, kwargs)
    except Exception:
        log_internal_error("begin a span of the Agents SDK")
    return wrapped(*args, **kwargs)


def _begin(key: str, parent: str | None, kind: str, name: Any, args: Any, kwargs: Any, session: Any = None) -> None:
    run = _runs.begin(key, parent, kind, str(name or ""), session=session)
    if args[0] if args else kwargs.get("mark_as_current"):
        run.attach()


def _finish_trace(wrapped: Any, trace: Any, args: Any, kwargs: Any) -> Any:
    try:
        with _runs.ending(trace.trace_id) as run:
            if run is not None:
                run.operation.error = run.raised()
    except Exception:
        log_internal_error("end a workflow of the Agents SDK")
    return wrapped(*args, **kwargs)


def _finish_span(wrapped: Any, span: Any, args: Any, kwargs: Any) -> Any:
    try:
        with _runs.ending(span.span_id) as run:
            data = span.span_data
            if data.type == "handoff" and _runs.find(span.span_id) is not None:
                # Begin it here: only now its target is known.
                handoff = f"{span.span_id}-handoff"
                _runs.begin(handoff, span.span_id, "tool", f"handoff to {data.to_agent}")
                _runs.end(handoff)
            elif run is not None:
                reported = ReportedError(str(span.error["message"])) if span.error else None
                run.operation.error = run.raised() or reported
                if data.type == "function" and run.reads_content:
                    run.operation.arguments, run.operation.result = parse_json(data.input), data.output
    except Exception:
        log_internal_error("end a span of the Agents SDK")
    return wrapped(*args, **kwargs)
