"""CrewAI: crews, flows, tasks, agents, tools and knowledge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._compat.standard_library import running_task
from ..context.operation import Operation
from ..providers._patches import Patches
from ._runs import parse_json
from ._search_results import argument, set_query
from ._wrapping import TracedMethod


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``crewai.crew``."""
    patches = Patches()
    flow, task, agent = "crewai.flow.runtime:Flow", "crewai.task:Task", "crewai.agent.core:Agent"
    _CREW.install_in(patches, module, "Crew.kickoff", "async Crew.akickoff")
    _CREW.install_in(patches, module, f"async {flow}.kickoff_async", f"async {flow}.akickoff")
    _STEP.install_in(patches, module, f"async {flow}._execute_method")
    _TASK.install_in(patches, module, f"{task}._execute_core", f"async {task}._aexecute_core")
    _AGENT.install_in(patches, module, f"{agent}.execute_task", f"async {agent}.aexecute_task")
    _LONE_AGENT.install_in(patches, module, f"{agent}.kickoff")
    _AGENT.install_in(patches, module, f"async {agent}.kickoff_async")
    for tool in ("crewai.tools.base_tool:BaseTool", "crewai.tools.base_tool:Tool"):
        _TOOL.install_in(patches, module, f"{tool}.run", f"async {tool}.arun")
    tool = "crewai.tools.structured_tool:CrewStructuredTool"
    _TOOL.install_in(patches, module, f"{tool}.invoke", f"async {tool}.ainvoke")
    knowledge = "crewai.knowledge.knowledge:Knowledge"
    _KNOWLEDGE.install_in(patches, module, f"{knowledge}.query", f"async {knowledge}.aquery")
    return patches


def _name_unless_streamed(runner: Any, *_: Any) -> object:
    """Return the name of a crew or flow; ``None`` for a stream, which starts it again, and for CrewAI's own flows."""
    if getattr(runner, "stream", False) is True or type(runner).__module__.startswith("crewai.agents."):
        return None
    return getattr(runner, "name", None) or type(runner).__name__


def _name_step(flow: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> object:
    """Return the name of a method of a flow; ``None`` for CrewAI's own flows."""
    if type(flow).__module__.startswith("crewai.agents."):
        return None
    return argument(args, kwargs, 0, "method_name")


def _begin_search(knowledge: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], operation: Operation) -> None:
    set_query(operation, argument(args, kwargs, 0, "query"), argument(args, kwargs, 1, "results_limit"))


def _inputs(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("inputs") or kwargs.get("messages")


def _tool_arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return parse_json(kwargs.get("input", args[0] if args else dict(kwargs)))


def _output(result: Any) -> Any:
    return getattr(result, "raw", result)


_CREW = TracedMethod("crewai", "workflow", _name_unless_streamed, read_arguments=_inputs, read_result=_output)
_STEP = TracedMethod("crewai", "workflow", _name_step, read_result=lambda result: _output(result[0]))
_TASK = TracedMethod("crewai", "workflow", lambda task, *_: task.name or "task", read_result=_output)
_AGENT = TracedMethod("crewai", "agent", lambda agent, *_: agent.role, read_result=_output)
_LONE_AGENT = TracedMethod(
    "crewai",
    "agent",
    # In an event loop ``kickoff`` returns the coroutine of ``kickoff_async``.
    lambda agent, *_: None if running_task() else agent.role,
    read_result=_output,
)
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
