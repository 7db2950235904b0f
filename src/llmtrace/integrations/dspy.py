"""DSPy: programs, modules, agents, tools and retrievers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..context import state
from ..context.callback_run import innermost_operation
from ..context.operation import Operation
from ..context.propagate import wrap
from ..providers._patches import Patches
from ._search_results import argument, set_query
from ._wrapping import TracedMethod

_AGENTS = frozenset({"ReAct", "ReActV2", "CodeAct", "RLM"})


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``dspy.primitives.module``."""
    patches = Patches()
    for traced in (_AGENT, _MODULE):
        traced.install_in(patches, module, "Module.__call__", "async Module.acall")
    tool = "dspy.adapters.types.tool:Tool"
    _TOOL.install_in(patches, module, f"{tool}.__call__", f"async {tool}.acall")
    retrievers = "dspy.retrievers.retrieve:Retrieve", "dspy.retrievers.embeddings:Embeddings"
    _RETRIEVAL.install_in(patches, module, *(f"{each}.__call__" for each in retrievers))
    patches.when_imported("dspy.utils.parallelizer", _wrap_parallelizer)
    return patches


def _wrap_parallelizer(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "ParallelExecutor", "execute", _execute)


def _execute(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    """Run the function in its threads with the span and tags of the caller, which DSPy does not carry there."""
    if args:
        args = (wrap(args[0]), *args[1:])
    elif "function" in kwargs:
        kwargs = {**kwargs, "function": wrap(kwargs["function"])}
    return wrapped(*args, **kwargs)


def _is_agent(module: Any) -> bool:
    return not _AGENTS.isdisjoint(cls.__name__ for cls in type(module).__mro__)


def _name_agent(module: Any, *_: Any) -> object:
    return type(module).__name__ if _is_agent(module) else None


def _name_module(module: Any, *_: Any) -> object:
    """Return the class of a module; ``None`` for agents, and for a ``Predict`` inside another module."""
    name = type(module).__name__
    if _is_agent(module) or name == "Retrieve":
        return None
    outer = innermost_operation(state.current())
    return None if name == "Predict" and outer is not None and outer.client == "dspy" else name


def _begin_search(retriever: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    set_query(operation, argument(args, kwargs, 0, "query"), getattr(retriever, "k", None))


def _read_passages(prediction: Any) -> Iterable[object]:
    passages = getattr(prediction, "passages", prediction)
    ids = getattr(prediction, "indices", None)
    for number, passage in enumerate(passages if isinstance(passages, list) else ()):
        row = {"content": passage} if isinstance(passage, str) else passage
        if isinstance(row, dict) and isinstance(ids, list) and number < len(ids):
            row = {**row, "id": ids[number]}
        yield row


def _keywords(_: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return dict(kwargs)


def _fields(prediction: Any) -> Any:
    items = getattr(prediction, "items", None)
    return dict(items()) if callable(items) else prediction


_AGENT = TracedMethod("dspy", "agent", _name_agent, read_arguments=_keywords, read_result=_fields)
_MODULE = TracedMethod("dspy", "workflow", _name_module, read_arguments=_keywords, read_result=_fields)
_TOOL = TracedMethod(
    "dspy",
    "tool",
    lambda tool, *_: tool.name,
    description="desc",
    read_arguments=_keywords,
    read_result=lambda result: result,
)
_RETRIEVAL = TracedMethod(
    "dspy",
    "retrieval",
    lambda retriever, *_: type(retriever).__name__,
    begin=_begin_search,
    read_documents=_read_passages,
)
