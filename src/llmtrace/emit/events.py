"""Events through the logs API, for those who have a pipeline of logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import _logs
from opentelemetry._logs import Logger, LoggerProvider, LogRecord, SeverityNumber
from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

__all__ = ["Events", "application_logs"]


def application_logs() -> LoggerProvider | None:
    """The logger provider the application set, if it did. Asking the API's getter might set one."""
    found: LoggerProvider | None = getattr(_logs._internal, "_LOGGER_PROVIDER", None)
    return found


class Events:
    """Emits named events, if anybody listens."""

    def __init__(self, provider: Callable[[], LoggerProvider | None], version: str) -> None:
        self._provider = provider
        self._version = version
        self._known: tuple[LoggerProvider, Logger] | None = None

    def logger(self) -> Logger | None:
        provider = self._provider()
        if provider is None:
            return None
        if self._known is None or self._known[0] is not provider:
            self._known = provider, provider.get_logger("llmtrace", self._version)
        return self._known[1]

    def emit(self, name: str, attributes: Mapping[str, Any], context: Context, *, timestamp: int | None = None) -> None:
        logger = self.logger()
        if logger is None:
            return
        try:
            record = LogRecord(
                timestamp=timestamp,
                context=context,
                severity_number=SeverityNumber.INFO,
                event_name=name,
                attributes=attributes,
            )
        except TypeError:
            record = _older(name, attributes, context, timestamp)
        logger.emit(record)


def _older(name: str, attributes: Mapping[str, Any], context: Context, timestamp: int | None) -> LogRecord:
    """For releases whose records have no event name, and no structure in attributes."""
    from opentelemetry.sdk import _logs as sdk

    ids = get_current_span(context).get_span_context()
    flat = {
        key: value if isinstance(value, (str, bool, int, float)) else json.dumps(value, ensure_ascii=False, default=str)
        for key, value in attributes.items()
    }
    kind: Any = getattr(sdk, "LogRecord", LogRecord)
    record: LogRecord = kind(
        timestamp=timestamp,
        trace_id=ids.trace_id,
        span_id=ids.span_id,
        trace_flags=ids.trace_flags,
        severity_number=SeverityNumber.INFO,
        body=None,
        attributes={"event.name": name, **flat},
    )
    return record
