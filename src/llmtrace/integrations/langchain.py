"""LangChain and LangGraph: graphs, nodes, agents, tools and retrievers, as their callbacks report them."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import partial, wraps
from types import FrameType
from typing import Any

from .._errors import log_internal_error
from ..context import state
from ..context.callback_run import CallbackRun
from ..context.operations import first_line
from ..providers._patches import Patches
from ._runs import OpenRuns, records_operations

_HIDDEN = "langsmith:hidden"
_NODE = "graph:step:"
_GRAPH = "LangGraph"
"""Default name of a graph."""
_GRAPH_MODULE = "langgraph.pregel.main"
_CALLBACK_MODULES = (__name__, "langchain_core.callbacks.manager")
_AGENTS = (("model", "langchain.agents.factory"), ("agent", "langgraph.prebuilt.chat_agent_executor"))
"""Node in which an agent calls its model, and the module of the constructor, ``create_agent`` or another."""
_SCORES = ("relevance_score", "score", "similarity_score", "_score")
"""Keys of a document's metadata under which retrievers and rerankers keep its score."""

_runs = OpenRuns("langchain")
_handlers: list[Any] = []
"""The handler that LangChain knows. It stays, because LangChain has no function that forgets one."""
_models: dict[Any, tuple[Any, Any]] = {}
"""Context token and previous context of calls that are made outside the context of the run above, by run id."""
_in_retriever: ContextVar[bool] = ContextVar("llmtrace-in-retriever", default=False)
"""True inside the method of a retriever, which restores the context when it returns."""


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``langchain_core.runnables.config``."""
    patches = Patches()
    _wrap_context(module, patches)
    if patches.missing:
        return patches
    patches.when_imported("langchain_core.tracers.context", _register)
    patches.when_imported("langchain_core.retrievers", _wrap_retriever)
    patches.when_imported("langgraph._internal._runnable", _wrap_context)
    return patches


def _wrap_context(module: Any, patches: Patches) -> None:
    patches.wrap(module, "_set_config_context", _set_config_context)


def _register(module: Any, patches: Patches) -> None:
    """Have LangChain pass ``_Callbacks`` to every run, in every thread."""
    if not _handlers:
        _handlers.append(_make_handler())
        variable: ContextVar[Any] = ContextVar("llmtrace-langchain", default=_handlers[0])
        module.register_configure_hook(variable, inheritable=True)
    _handlers[0].active = True
    patches.register(_handlers[0].stop)


def _handler() -> Any:
    """Return the handler that a pickled configuration holds, or one that records nothing in another process."""
    return _handlers[0] if _handlers else _make_handler()


def _make_handler() -> Any:
    base = sys.modules["langchain_core.callbacks.base"].BaseCallbackHandler
    return type("LlmtraceCallbackHandler", (_Callbacks, base), {})()


def _wrap_retriever(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "BaseRetriever", "invoke", _run_retriever)
    patches.wrap_in(module, "BaseRetriever", "ainvoke", _run_retriever_async)


def _run_retriever(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    outer, token = state.current(), _in_retriever.set(True)
    try:
        return wrapped(*args, **kwargs)
    finally:
        _leave_retriever(outer, token)


async def _run_retriever_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    outer, token = state.current(), _in_retriever.set(True)
    try:
        return await wrapped(*args, **kwargs)
    finally:
        _leave_retriever(outer, token)


def _leave_retriever(outer: Any, token: Any) -> None:
    try:
        _in_retriever.reset(token)
        if state.current() is not outer:
            state.attach(outer)
    except ValueError:
        pass  # a coroutine that is closed in another context leaves that as it is
    except Exception:
        log_internal_error("leave a retriever of LangChain")


def _set_config_context(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """Make the context of a run current. LangChain calls this in the copy of the context that the run's body gets."""
    result = wrapped(*args, **kwargs)
    try:
        config = args[0] if args else kwargs["config"]
        _runs.attach(getattr(config.get("callbacks"), "parent_run_id", None))
    except Exception:
        log_internal_error("enter a run of LangChain")
    return result


def _guarded(callback: Callable[..., None]) -> Any:
    @wraps(callback)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            callback(*args, **kwargs)
        except Exception:
            log_internal_error("record a run of LangChain")

    return guarded


class _Callbacks:
    """Callbacks that LangChain calls in the thread or task of a run, before and after it."""

    active = False
    run_inline = True
    raise_error = False
    ignore_agent = ignore_chain = ignore_llm = ignore_chat_model = ignore_retriever = False
    ignore_retry = ignore_custom_event = True

    def stop(self) -> None:
        """Record no further runs."""
        self.active = False

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: Any) -> Any:
        return self

    def __reduce__(self) -> Any:
        return _handler, ()

    @_guarded
    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        tags: Any = None,
        metadata: Any = None,
        name: Any = None,
        run_type: Any = None,
        **_: Any,
    ) -> None:
        if not (self.active and records_operations()):
            return
        metadata = metadata or {}
        above = _runs.find(parent_run_id)
        outer = None if above is None else above.operation.name
        kind, title = (None, "") if run_type else _classify(str(name or ""), tags or (), metadata, outer)
        if kind is None:
            _runs.skip(run_id, parent_run_id)
            return
        step = metadata.get("langgraph_step") if any(map(_is_node, tags or ())) else None
        run = _runs.begin(run_id, parent_run_id, kind, title, session=metadata.get("thread_id"), step=step)
        if run.reads_content:
            run.operation.arguments = _readable(inputs)

    @_guarded
    def on_chain_end(self, outputs: Any, *, run_id: Any, inputs: Any = None, **_: Any) -> None:
        with _runs.ending(run_id) as run:
            if run is not None and run.reads_content:
                run.operation.result = _readable(outputs)
                if inputs is not None:  # of a stream, whose inputs are complete at its end
                    run.operation.arguments = _readable(inputs)

    @_guarded
    def on_chain_error(self, error: BaseException, *, run_id: Any, **_: Any) -> None:
        _runs.end(run_id, _reported(error))

    @_guarded
    def on_tool_start(
        self,
        serialized: Any,
        input_str: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        metadata: Any = None,
        inputs: Any = None,
        tool_call_id: Any = None,
        name: Any = None,
        **_: Any,
    ) -> None:
        if not (self.active and records_operations()):
            return
        described: Mapping[str, Any] = serialized or {}
        tool = str(described.get("name") or name or "")
        run = _runs.begin(run_id, parent_run_id, "tool", tool, session=(metadata or {}).get("thread_id"))
        run.operation.description = first_line(described.get("description"))
        run.operation.call_id = tool_call_id if isinstance(tool_call_id, str) else None
        if run.reads_content:
            run.operation.arguments = input_str if inputs is None else _readable(inputs)

    @_guarded
    def on_tool_end(self, output: Any, *, run_id: Any, **_: Any) -> None:
        with _runs.ending(run_id) as run:
            if run is None:
                return
            artifact = getattr(output, "artifact", None)
            if isinstance(artifact, list) and artifact and all(hasattr(item, "page_content") for item in artifact):
                _add_documents(run, artifact)
            if run.reads_content:
                run.operation.result = getattr(output, "content", output)

    on_tool_error = on_chain_error

    @_guarded
    def on_retriever_start(
        self,
        serialized: Any,
        query: Any,
        *,
        run_id: Any,
        parent_run_id: Any = None,
        metadata: Any = None,
        name: Any = None,
        **_: Any,
    ) -> None:
        if not (self.active and records_operations()):
            return
        session = (metadata or {}).get("thread_id")
        run = _runs.begin(run_id, parent_run_id, "retrieval", str(name or ""), session=session)
        run.operation.query = query if isinstance(query, str) else None
        if _in_retriever.get():
            _runs.attach(run_id)

    @_guarded
    def on_retriever_end(self, documents: Any, *, run_id: Any, **_: Any) -> None:
        with _runs.ending(run_id) as run:
            if run is not None:
                _add_documents(run, documents)

    on_retriever_error = on_chain_error

    @_guarded
    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: Any, parent_run_id: Any = None, **_: Any
    ) -> None:
        """Make the context of the run above current where it is not: in a batch, or a thread of the application."""
        run, current = _runs.find(parent_run_id), state.current()
        if run is not None and run.is_inside(current):
            _models[run_id] = state.attach(run.context), current

    on_llm_start = on_chat_model_start

    @_guarded
    def on_llm_end(self, *_: Any, run_id: Any, **__: Any) -> None:
        attached = _models.pop(run_id, None)
        if attached is not None:
            state.restore(*attached)

    on_llm_error = on_llm_end
    # The reader of a stream must not get the context of the run above between the parts.
    on_llm_new_token = on_llm_end


def _is_node(tag: Any) -> bool:
    return isinstance(tag, str) and tag.startswith(_NODE)


def _classify(name: str, tags: Any, metadata: Mapping[str, Any], outer: str | None) -> tuple[str | None, str]:
    """Return the kind and the name of the operation of a run, or ``None`` for the glue between operations.

    ``outer`` is the name of the operation above, ``None`` for the first run.
    """
    if _HIDDEN in tags:
        return None, name
    if any(map(_is_node, tags)):
        return "workflow", name
    agent = metadata.get("lc_agent_name")
    if agent == name or (outer is None and metadata.get("ls_integration") == "langchain_create_agent"):
        return "agent", str(agent or name)
    graph = _starting_graph()
    if graph is not None:
        return ("agent", name if graph.name == _GRAPH else str(graph.name)) if _is_agent(graph) else ("workflow", name)
    is_task = name == metadata.get("langgraph_node") != outer  # of the functional API
    return ("workflow", name) if outer is None or name == _GRAPH or is_task else (None, name)


def _starting_graph() -> Any:
    """Return the graph that calls the callback now, or ``None`` if a runnable of another kind does.

    Callbacks get the name of a graph alone, which may be that of any runnable.
    """
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and (module := frame.f_globals.get("__name__")) in _CALLBACK_MODULES:
        frame = frame.f_back
    return frame.f_locals.get("self") if frame is not None and module == _GRAPH_MODULE else None


def _is_agent(graph: Any) -> bool:
    """Return True if a constructor of agents has built ``graph``: its node is a function of the same module."""
    nodes = getattr(getattr(graph, "builder", None), "nodes", {})
    for name, module in _AGENTS:
        function = getattr(getattr(nodes.get(name), "runnable", None), "func", None)
        if getattr(function, "__module__", None) == module:
            return True
    return False


def _reported(error: BaseException) -> BaseException | None:
    """Return the error to record. LangGraph raises some for its control flow: an interrupt, a jump to another graph."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "GraphInterrupt" in names:
        return CancelledError()  # the node runs again from its start when the graph is resumed
    return None if "GraphBubbleUp" in names else error


def _add_documents(run: CallbackRun, documents: Any) -> None:
    """Add documents, with the scores of a vector store that the run has searched if they have none of their own."""
    scores = {each.id: each.score for each in run.operation.inner_documents or ()}
    run.add_documents([_document(item, scores) for item in documents])


def _document(item: Any, scores: Mapping[str, float | None]) -> Any:
    metadata = getattr(item, "metadata", None)
    if not isinstance(metadata, Mapping):
        return item
    id_ = getattr(item, "id", None)
    id_ = metadata.get("_id") if id_ is None else id_  # where stores have no other place for it
    own = (metadata[key] for key in _SCORES if isinstance(metadata.get(key), (int, float)))
    content = getattr(item, "page_content", None)
    return {"id": id_, "content": content, "score": next(own, scores.get(str(id_))), "metadata": metadata}


def _readable(value: Any) -> Any:
    """Return a state with its messages as roles and texts, and one of messages alone as the text of the last."""
    if isinstance(value, Mapping):
        messages = value.get("messages")
        if len(value) == 1 and isinstance(messages, list) and messages:
            return _content(messages[-1])
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if hasattr(value, "content") and isinstance(kind := getattr(value, "type", None), str):
        return {"role": kind, "content": value.content}
    return value


def _content(message: Any) -> Any:
    """Return the content of a message, or the tool calls of one without content."""
    if isinstance(message, tuple) and len(message) == 2:
        return message[1]
    get = message.get if isinstance(message, Mapping) else partial(getattr, message)
    content = get("content", None)
    return content or get("tool_calls", None) or (message if content is None else content)
