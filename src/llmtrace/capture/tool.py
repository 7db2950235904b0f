"""One run of a function of the program's own that an SDK calls because a model asked for it."""

from __future__ import annotations

from typing import Any

from .._guard import report
from ..scope import context as scopes
from .tracing import Tracing

__all__ = ["OpenTool"]


class OpenTool:
    __slots__ = ("arguments", "client", "context", "error", "name", "outer", "parent", "result", "span", "tracing")

    span: Any
    """The emitter's."""
    context: Any
    """The OpenTelemetry context in which the function runs."""

    def __init__(self, tracing: Tracing, client: str, name: str, arguments: Any, parent: Any = None) -> None:
        self.tracing = tracing
        self.client = client
        self.name = name
        self.arguments = arguments
        self.result: Any = None
        self.error: BaseException | None = None
        self.outer = scopes.current()
        self.parent = self.outer if parent is None else parent
        """The context of the call that the model asked in, where that is another."""
        tracing.emitter.begin_tool(self)

    def enter(self) -> Any:
        return scopes.attach(self.context)

    def end(self, token: Any, result: Any, error: BaseException | None) -> None:
        """The function has returned, or raised."""
        scopes.detach(token, self.context, self.outer, error)
        self.result, self.error = result, error
        try:
            self.tracing.emitter.end_tool(self)
        except Exception:
            report("end the span of a tool")
        self.result = self.error = self.arguments = None
