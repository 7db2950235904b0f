"""smolagents: agents, also those that another agent manages, and tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..context.propagate import wrap
from ..providers._patches import Patches
from ._wrapping import TracedMethod


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``smolagents.agents``."""
    patches = Patches()
    # Hook the generator below ``run``, which lasts as long as the run whether it is streamed or not.
    patches.wrap_in(module, "MultiStepAgent", "_run_stream", _AGENT.call_generator)
    _TOOL.install_in(patches, module, "smolagents.tools:Tool.__call__")
    patches.when_imported("smolagents.local_python_executor", _wrap_timeout)
    return patches


def _wrap_timeout(module: Any, patches: Patches) -> None:
    patches.wrap(module, "timeout", _timeout)


def _timeout(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    """Run the code that a model has written with the span and tags of its agent, in a thread without its context."""
    decorate = wrapped(*args, **kwargs)
    return lambda function: decorate(wrap(function))


def _task(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    return args[0] if args else kwargs.get("task")


def _arguments(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    passed = {key: value for key, value in kwargs.items() if key != "sanitize_inputs_outputs"}
    return passed if passed or not args else args[0]


_AGENT = TracedMethod(
    "smolagents",
    "agent",
    lambda agent, *_: getattr(agent, "name", None) or type(agent).__name__,
    read_arguments=_task,
)
_TOOL = TracedMethod(
    "smolagents",
    "tool",
    lambda tool, *_: tool.name,
    description="description",
    read_arguments=_arguments,
    read_result=lambda result: result,
)
