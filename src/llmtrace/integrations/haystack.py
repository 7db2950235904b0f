"""Haystack: pipelines, agents, tools, retrievers and rankers, as its spans report them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._compat.wrapt import ObjectProxy
from .._errors import log_internal_error
from ..context import state
from ..context.callback_run import CallbackRun, innermost_operation
from ..context.operations import first_line
from ..providers._patches import Patches
from ._runs import ReportedError, records_operations

_OUTPUT = {"haystack.component.output", "haystack.pipeline.output_data", "haystack.agent.output"}
_INPUT = {"haystack.pipeline.input_data", "haystack.agent.input"}


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``haystack.tracing.tracer``."""
    patches = Patches()
    # Hook the proxy, not ``enable_tracing``: Haystack has one tracer, which may be the application's.
    patches.wrap_in(module, "ProxyTracer", "trace", _trace)
    return patches


def _trace(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    parent = kwargs.get("parent_span")
    if isinstance(parent, _ReadSpan):
        kwargs = {**kwargs, "parent_span": parent.__wrapped__}
    context_manager = wrapped(*args, **kwargs)
    if not records_operations():
        return context_manager
    return _TracedBlock(context_manager, args[0] if args else kwargs.get("operation_name"), kwargs.get("tags") or {})


class _TracedBlock:
    """The block of one of Haystack's spans, with an operation if it stands for one."""

    def __init__(self, context_manager: Any, operation: Any, tags: Mapping[str, Any]) -> None:
        self._context_manager = context_manager
        self._operation = operation
        self._tags = tags
        self._run: CallbackRun | None = None

    def __enter__(self) -> Any:
        try:
            described = _describe(self._operation, self._tags)
            if described is not None:
                self._run = run = CallbackRun("haystack", *described, state.current())
                run.operation.description = first_line(self._tags.get("haystack.tool.description"))
                run.attach()
        except Exception:
            log_internal_error("begin a span of Haystack")
        try:
            span = self._context_manager.__enter__()
        except BaseException as error:
            self._end(error)
            raise
        return span if self._run is None else _ReadSpan(span, self._run)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> Any:
        try:
            return self._context_manager.__exit__(kind, error, traceback)
        finally:
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        run = self._run
        if run is None:
            return
        try:
            run.detach()
            run.end(error or run.operation.error)
            run.propagate_documents()
        except Exception:
            log_internal_error("end a span of Haystack")


class _ReadSpan(ObjectProxy):
    """A span of Haystack whose tags are read."""

    def __init__(self, span: Any, run: CallbackRun) -> None:
        super().__init__(span)
        self._self_run = run

    def set_tag(self, key: str, value: Any) -> None:
        """Set a tag."""
        if key == "haystack.tool.error" and value:
            self._self_run.operation.error = ReportedError("the tool failed")
        self.__wrapped__.set_tag(key, value)

    def set_content_tag(self, key: str, value: Any) -> None:
        """Set a tag that holds content."""
        try:
            _read(self._self_run, key, value)
        except Exception:
            log_internal_error("read a span of Haystack")
        self.__wrapped__.set_content_tag(key, value)


def _describe(operation: Any, tags: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the kind and the name of an operation, or ``None`` for a span that needs none."""
    match operation:
        case "haystack.pipeline.run" | "haystack.async_pipeline.run":
            metadata = tags.get("haystack.pipeline.metadata") or {}
            return "workflow", str(metadata.get("name") or "pipeline")
        case "haystack.agent.step.tool":
            return "tool", str(tags.get("haystack.tool.name"))
        case "haystack.agent.run":
            outer = innermost_operation(state.current())
            is_component = outer is not None and (outer.kind, outer.client) == ("agent", "haystack")
            return None if is_component else ("agent", "agent")
        case "haystack.component.run":
            return _describe_component(*(str(tags.get(f"haystack.component.{key}")) for key in ("name", "type")))
    return None


def _describe_component(name: str, component: str) -> tuple[str, str] | None:
    if component == "Agent":
        return "agent", name
    if component.endswith("Retriever"):
        return "retrieval", name
    return ("rerank", name) if component.endswith("Ranker") else None


def _read(run: CallbackRun, key: str, value: Any) -> None:
    operation = run.operation
    if operation.kind in ("retrieval", "rerank"):
        if key == "haystack.component.input":
            query = value.get("query")
            operation.query = query if isinstance(query, str) else None
            operation.top_k = value["top_k"] if type(value.get("top_k")) is int else None
        elif key in _OUTPUT:
            run.add_documents(value.get("documents") or ())
    elif run.reads_content:
        if key in _INPUT or key == "haystack.agent.step.tool.input":
            operation.arguments = _readable(value)
        elif key in _OUTPUT or key == "haystack.agent.step.tool.output":
            operation.result = _readable(value)


def _readable(value: Any) -> Any:
    """Return ``value`` with its messages as roles and texts."""
    if isinstance(value, Mapping):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    role = getattr(value, "role", None)
    return value if role is None else {"role": getattr(role, "value", role), "content": getattr(value, "text", None)}
