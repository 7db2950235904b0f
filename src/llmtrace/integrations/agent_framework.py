"""Microsoft Agent Framework: it opens its spans itself, and repeats the token counts of calls on those of agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._errors import attempt
from ..providers._patches import Patches
from ._agent_usage import with_aggregated_names


def install(module: Any) -> Patches:
    """Install the bridge. ``module`` is ``agent_framework.observability``."""
    patches = Patches()
    patches.wrap(module, "_apply_accumulated_usage", _apply_accumulated_usage)
    return patches


def _apply_accumulated_usage(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Rename the sum over the calls of an agent. An agent whose calls have no spans keeps its own counts."""
    attributes = args[0] if args else kwargs.get("attributes")
    own = frozenset(attributes or ())
    result = wrapped(*args, **kwargs)
    attempt("rename the token counts of an agent", _rename, attributes, own)
    return result


def _rename(attributes: dict[str, Any], own: frozenset[str]) -> None:
    added = {name: attributes.pop(name) for name in list(attributes) if name not in own}
    attributes.update(with_aggregated_names(added))
