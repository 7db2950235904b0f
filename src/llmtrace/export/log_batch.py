"""Batch processor of log records."""

from __future__ import annotations

import copy
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs import LogRecordProcessor

from .batch import BatchProcessor

_Readable: Any = getattr(_logs, "ReadableLogRecord", None)
"""Argument type of newer exporters; older ones take the argument of ``on_emit``."""


class LogBatchProcessor(BatchProcessor, LogRecordProcessor):
    """The batch processor of log records."""

    def on_emit(self, log_record: Any) -> None:
        """Queue a copy of an emitted log record."""
        record = copy.copy(log_record.log_record)
        record.context = Context()  # drop the context, which may keep objects of the program alive
        if _Readable is not None:
            readable = _Readable(record, log_record.resource, log_record.instrumentation_scope, log_record.limits)
        else:
            readable = copy.copy(log_record)
            readable.log_record = record
        self.enqueue(readable)
