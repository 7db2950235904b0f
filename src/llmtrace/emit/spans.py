"""Calls as OpenTelemetry spans."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.trace import SpanKind, Tracer, get_current_span

from .._guard import report
from ..capture.call import OpenCall
from ..capture.failure import error_type
from ..capture.tool import OpenTool
from ..scope import context as scopes
from . import names
from .attributes import ADDED, DESCRIBERS, Attributes, describe_exception
from .scope import CLOSED, Content, describe_scope

__all__ = ["SpanEmitter"]


class SpanEmitter:
    """Starts a span with what samplers may see, and writes the rest at its end."""

    def __init__(
        self, tracer: Callable[[str], Tracer], *, error_messages: bool = False, content: Content = CLOSED
    ) -> None:
        self._tracer = tracer
        self.error_messages = error_messages
        self.content = content

    def begin(self, call: OpenCall) -> None:
        if call.borrowed:
            call.span = get_current_span(call.outer)
            call.context = scopes.with_call(call.outer, call, call.span)
            return
        request = call.request
        attributes: Attributes = {names.OPERATION: request.operation, names.PROVIDER: call.provider}
        name = request.operation
        if request.model is not None:
            attributes[names.REQUEST_MODEL] = request.model
            name = name + " " + request.model
        if call.server is not None:
            attributes[names.SERVER_ADDRESS], attributes[names.SERVER_PORT] = call.server
        call.span = self._tracer(call.client).start_span(
            name, call.outer, kind=SpanKind.CLIENT, attributes=attributes, start_time=call.started_ns
        )
        call.context = scopes.with_call(call.outer, call, call.span)

    def end(self, call: OpenCall, end_time: int | None) -> None:
        span = call.span
        if span.is_recording():
            found: Attributes = {}
            for describe in (*(ADDED if call.borrowed else DESCRIBERS), describe_scope):
                try:
                    describe(call, self, found)
                except Exception:
                    report("write a span")
            span.set_attributes(found)
        if not call.borrowed:
            span.end(end_time)

    def begin_tool(self, tool: OpenTool) -> None:
        attributes: Attributes = {
            names.OPERATION: "execute_tool",
            names.TOOL_NAME: tool.name,
            names.TOOL_TYPE: "function",
        }
        tool.span = self._tracer(tool.client).start_span(
            f"execute_tool {tool.name}", tool.parent, attributes=attributes
        )
        tool.context = scopes.with_span(tool.outer, tool.span)

    def end_tool(self, tool: OpenTool) -> None:
        span, error = tool.span, tool.error
        try:
            if isinstance(error, Exception) and span.is_recording():
                found: Attributes = {names.ERROR_TYPE: error_type(error)}
                describe_exception(span, error, self)
                span.set_attributes(found)
        finally:
            span.end()
