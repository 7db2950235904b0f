"""LlamaIndex: engines, workflows, agents, tools, retrievers and rerankers, as its dispatcher reports them."""

from __future__ import annotations

import sys
import weakref
from collections.abc import AsyncGenerator, Generator
from functools import cache, lru_cache, partial
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from .._errors import log_internal_error
from ..capture import worker
from ..context.blocks import async_steps, steps
from ..context.callback_run import CallbackRun
from ..context.operations import first_line
from ..context.retrieval import read_documents
from ..providers._patches import Patches
from ._runs import OpenRuns, ReportedError, records_operations

_ID_CHARS = 37
"""Length of the hyphen and UUID that end the id of a span."""
_CHAT = ("chat", "achat", "stream_chat", "astream_chat")
_METHODS = {
    "BaseQueryEngine": dict.fromkeys(("query", "aquery"), "workflow"),
    "BaseChatEngine": dict.fromkeys(_CHAT, "workflow"),
    "BaseWorkflowAgent": {"run": "agent"},
    "Workflow": {"run": "workflow"},
    "BaseTool": dict.fromkeys(("call", "acall"), "tool"),
    "BaseRetriever": dict.fromkeys(("retrieve", "aretrieve"), "retrieval"),
    "BaseNodePostprocessor": dict.fromkeys(("_postprocess_nodes", "_apostprocess_nodes"), "rerank"),
}
"""Kind of operation by class and method, the most special class first. Other spans have no operation."""

_AGENTS = ("AgentWorkflow", "BaseWorkflowAgent")
"""Workflows whose steps get no span: they are the same in every run of an agent."""

_runs = OpenRuns("llama_index")


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``llama_index_instrumentation``."""
    patches = Patches()
    handlers = module.root_dispatcher.span_handlers
    base = sys.modules[f"{module.__name__}.span_handlers"].BaseSpanHandler
    handler = _handler_class(base)()
    module.root_dispatcher.add_span_handler(handler)

    def remove() -> None:
        handlers[:] = [each for each in handlers if each is not handler]

    patches.register(remove)
    return patches


@cache
def _handler_class(base: type) -> type:
    """Derive the class of our handler. Pydantic takes 15 ms to make one."""
    return type("LlmtraceSpanHandler", (_SpanHandler, base), {"__module__": __name__})


class _SpanHandler:
    """Handler that LlamaIndex calls in the thread or task of a function, before and after it."""

    def span_enter(self, id_: str, bound_args: Any, instance: Any = None, parent_id: Any = None, **_: Any) -> None:
        try:
            if records_operations():
                _enter(id_, bound_args.arguments, instance, parent_id)
        except Exception:
            log_internal_error("begin a span of LlamaIndex")

    def span_exit(self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **_: Any) -> None:
        try:
            run = _runs.own(id_)
            if run is not None and _continues(id_, run, result):
                run.detach()
                return
            with _runs.ending(id_):
                if run is not None:
                    run.operation.error = _read_result(run, instance, result)
        except Exception:
            log_internal_error("end a span of LlamaIndex")

    def span_drop(self, id_: str, bound_args: Any, instance: Any = None, err: Any = None, **_: Any) -> None:
        try:
            with _runs.ending(id_) as run:
                if run is not None:
                    run.operation.error = err
        except Exception:
            log_internal_error("end a span of LlamaIndex")

    def new_span(self, *_: Any, **__: Any) -> None:
        """Keep no span: the methods above do everything."""

    prepare_to_exit_span = prepare_to_drop_span = new_span


@lru_cache(1024)
def _kind(cls: type, method: str) -> str | None:
    classes = {base.__name__ for base in cls.__mro__}
    return next((kinds[method] for name, kinds in _METHODS.items() if name in classes and method in kinds), None)


def _enter(id_: str, arguments: dict[str, Any], instance: Any, parent: Any) -> None:
    owner, _, method = id_[:-_ID_CHARS].rpartition(".")
    kind = _kind(type(instance), method)  # type: ignore[arg-type]  # classes are hashable
    if instance is None and str(parent)[:-_ID_CHARS].endswith(".run") and owner not in _AGENTS:
        kind = "workflow"  # a step of a workflow
    # Skip the ``run`` of older releases of workflows: it returns at once, and nothing is called then.
    if kind is None or (method == "run" and "init_state" not in arguments):
        _runs.skip(id_, parent)
        return
    name = method if instance is None else type(instance).__name__
    if kind == "agent":
        name = instance.name
    elif kind == "tool":
        name = instance.metadata.name
    run = _runs.begin(id_, parent, kind, str(name or ""))
    operation = run.operation
    question = next((value for value in arguments.values() if value is not None), None)
    if kind in ("retrieval", "rerank"):
        query = question if kind == "retrieval" else arguments.get("query_str") or arguments.get("query_bundle")
        operation.query = getattr(query, "query_str", query)
        top_k = getattr(instance, "similarity_top_k" if kind == "retrieval" else "top_n", None)
        operation.top_k = top_k if type(top_k) is int else None
        if kind == "rerank":
            nodes = arguments.get("nodes") or ()
            operation.input_documents = [*read_documents(_document(node, run.reads_content) for node in nodes)]
    elif kind == "tool":
        operation.description = first_line(instance.metadata.description)
        if run.reads_content:
            operation.arguments = arguments.get("kwargs") or arguments
    elif run.reads_content and method != "run":
        operation.arguments = arguments.get("ev") if instance is None else getattr(question, "query_str", question)
    run.attach()


def _continues(id_: str, run: CallbackRun, result: Any) -> bool:
    """Return True if ``result`` is a stream, at whose end the operation ends."""
    stream = getattr(result, "__dict__", {}).get("response_gen")  # not the property of a complete response
    if isinstance(stream, GeneratorType):
        result.response_gen = _stream(id_, run, stream)
    elif isinstance(stream, AsyncGeneratorType):
        result.response_gen = _astream(id_, run, stream)
    else:
        return False
    # A generator that is dropped before its first item never runs its ``finally``.
    worker.start()
    weakref.finalize(result.response_gen, worker.submit, partial(_runs.end, id_))
    return True


def _stream(id_: str, run: CallbackRun, body: Any) -> Generator[Any, Any, Any]:
    error: BaseException | None = None
    try:
        return (yield from steps(body, run.context))
    except BaseException as raised:
        error = raised
        raise
    finally:
        _end_stream(id_, error)


async def _astream(id_: str, run: CallbackRun, body: Any) -> AsyncGenerator[Any, Any]:
    error: BaseException | None = None
    try:
        async for item in async_steps(body, run.context):
            yield item
    except BaseException as raised:
        error = raised
        raise
    finally:
        _end_stream(id_, error)


def _end_stream(id_: str, error: BaseException | None) -> None:
    """End an operation, on the worker if its generator was closed: the thread of the collector may hold any lock."""
    if isinstance(error, GeneratorExit):
        worker.submit(partial(_runs.end, id_, error))
    else:
        _runs.end(id_, error)


def _read_result(run: CallbackRun, instance: Any, result: Any) -> BaseException | None:
    """Read the result of an operation and return the error that it reports, if any."""
    operation = run.operation
    if operation.kind in ("retrieval", "rerank"):
        run.add_documents([_document(node, run.reads_content) for node in result or ()])
    elif run.reads_content:
        stopped = getattr(result, "result", None)
        operation.result = _text(result if stopped is None else stopped)
    if operation.kind == "tool" and getattr(result, "is_error", None) is True:
        raised = getattr(result, "exception", None)
        return raised if isinstance(raised, BaseException) else ReportedError(_text(result))
    return None


def _text(result: Any) -> Any:
    return result if isinstance(result, (str, dict, list)) or result is None else str(result)


def _document(scored: Any, with_content: bool) -> Any:
    node = getattr(scored, "node", scored)
    document = {"id": node.node_id, "score": getattr(scored, "score", None)}
    return {**document, "content": getattr(node, "text", None), "metadata": node.metadata} if with_content else document
