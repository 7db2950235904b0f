"""Strands Agents: it opens its spans itself, and repeats the token counts of calls on those of agents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._compat.wrapt import ObjectProxy
from ..providers._patches import Patches
from ._agent_usage import aggregated_name, with_aggregated_names


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``strands.telemetry.tracer``."""
    patches = Patches()
    patches.wrap_in(module, "Tracer", "end_agent_span", _end_agent_span)
    return patches


def _end_agent_span(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if args and args[0] is not None:
        return wrapped(_AgentSpan(args[0]), *args[1:], **kwargs)
    if kwargs.get("span") is not None:
        kwargs = {**kwargs, "span": _AgentSpan(kwargs["span"])}
    return wrapped(*args, **kwargs)


class _AgentSpan(ObjectProxy):
    """Span of an agent, whose token counts are those of all its calls."""

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute, as the first releases do."""
        self.__wrapped__.set_attribute(aggregated_name(key), value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set attributes, the token counts by the names of sums."""
        self.__wrapped__.set_attributes(with_aggregated_names(attributes))
