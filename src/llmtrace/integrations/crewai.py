"""CrewAI: crews, flows, tasks, agents, tools and knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context.operation import Operation
from ..providers._patches import Patches
from ._runs import parse_json
from ._wrapping import TracedMethod

__all__ = ["install"]


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``crewai.crew``."""
    patches = Patches()
    patches.wrap_in(module, "Crew", "kickoff", _CREW.call)
    patches.wrap_in(module, "Crew", "akickoff", _CREW.call_async)
    patches.when_imported("crewai.task", _wrap_tasks)
    patches.when_imported("crewai.agent.core", _wrap_agents)
    patches.when_imported("crewai.tools.base_tool", _wrap_tools)
    patches.when_imported("crewai.tools.structured_tool", _wrap_structured_tools)
    patches.when_imported("crewai.knowledge.knowledge", _wrap_knowledge)
    patches.when_imported("crewai.flow.runtime", _wrap_flows)
    return patches


def _wrap_tasks(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "Task", "_execute_core", _TASK.call)
    patches.wrap_in(module, "Task", "_aexecute_core", _TASK.call_async)


def _wrap_agents(module: Any, patches: Patches) -> None:
    for method in ("execute_task", "kickoff"):
        patches.wrap_in(module, "Agent", method, _AGENT.call)
        patches.wrap_in(module, "Agent", f"a{method}", _AGENT.call_async)


def _wrap_tools(module: Any, patches: Patches) -> None:
    for cls in ("BaseTool", "Tool"):
        patches.wrap_in(module, cls, "run", _TOOL.call)
        patches.wrap_in(module, cls, "arun", _TOOL.call_async)


def _wrap_structured_tools(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "CrewStructuredTool", "invoke", _TOOL.call)
    patches.wrap_in(module, "CrewStructuredTool", "ainvoke", _TOOL.call_async)


def _wrap_knowledge(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "Knowledge", "query", _KNOWLEDGE.call)
    patches.wrap_in(module, "Knowledge", "aquery", _KNOWLEDGE.call_async)


def _wrap_flows(module: Any, patches: Patches) -> None:
    patches.wrap_in(module, "Flow", "kickoff_async", _FLOW.call_async)
    patches.wrap_in(module, "Flow", "akickoff", _FLOW.call_async)


def _name_unless_streamed(runner: Any, *_: Any) -> object:
    """Return the name of a crew or flow; ``None`` for a stream, which starts it again, and for CrewAI's own flows."""
    if getattr(runner, "stream", False) is True or type(runner).__module__.startswith("crewai.agents."):
        return None
    return getattr(runner, "name", None) or type(runner).__name__


def _begin_search(knowledge: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    query = args[0] if args else kwargs.get("query")
    operation.query = "\n".join(map(str, query)) if isinstance(query, list) else None
    limit = args[1] if len(args) > 1 else kwargs.get("results_limit")
    operation.top_k = limit if type(limit) is int else None


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("inputs") or kwargs.get("messages")


def _tool_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return parse_json(kwargs.get("input", args[0] if args else dict(kwargs)))


def _output(result: Any) -> Any:
    return getattr(result, "raw", result)


_CREW = TracedMethod("crewai", "workflow", _name_unless_streamed, read_arguments=_inputs, read_result=_output)
_FLOW = TracedMethod("crewai", "workflow", _name_unless_streamed, read_arguments=_inputs, read_result=_output)
_TASK = TracedMethod("crewai", "workflow", lambda task, *_: task.name or "task", read_result=_output)
_AGENT = TracedMethod("crewai", "agent", lambda agent, *_: agent.role, read_result=_output)
_TOOL = TracedMethod(
    "crewai",
    "tool",
    lambda tool, *_: tool.name,
    description="description",
    read_arguments=_tool_arguments,
    read_result=lambda result: result,
)
_KNOWLEDGE = TracedMethod(
    "crewai",
    "retrieval",
    lambda knowledge, *_: knowledge.collection_name or "knowledge",
    begin=_begin_search,
    read_documents=lambda results: results,
)
