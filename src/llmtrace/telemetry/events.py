"""Events emitted through the logs API of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns

from opentelemetry._logs import Logger, LogRecord, SeverityNumber
from opentelemetry.context import Context

from .._compat.span_attributes import event_limit, make_encodable
from .attributes import Attributes
from .importance import by_importance, within


class Events:
    """Emitter of events to the current logger."""

    def __init__(self, logger: Callable[[], Logger | None]) -> None:
        self._logger = logger

    def emit(
        self, name: str, attributes: Attributes, context: Context, severity: SeverityNumber = SeverityNumber.INFO
    ) -> bool:
        """Emit an event that belongs to the span of ``context``, within the attribute limit of the logger.

        Return False if there is no logger, so that the event is dropped.
        """
        logger = self._logger()
        if logger is not None:
            make_encodable(attributes)
            now = time_ns()
            logger.emit(
                LogRecord(
                    timestamp=now,
                    observed_timestamp=now,
                    context=context,
                    severity_number=severity,
                    event_name=name,
                    attributes=by_importance(within(attributes, event_limit(logger))),
                )
            )
        return logger is not None
