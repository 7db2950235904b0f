"""Events through the logs API of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context

from .attributes import Attributes

__all__ = ["Events"]


class Events:
    """Emits events to whatever logger there is at the moment."""

    def __init__(self, logger: Callable[[], Logger | None]) -> None:
        self._logger = logger

    def emit(self, name: str, attributes: Attributes, context: Context) -> None:
        logger = self._logger()
        if logger is not None:
            now = time_ns()
            logger.emit(
                LogRecord(
                    timestamp=now,
                    observed_timestamp=now,
                    context=context,
                    severity_number=SeverityNumber.INFO,
                    event_name=name,
                    attributes=attributes,
                )
            )
