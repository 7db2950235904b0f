"""Log records, taken from the SDK as spans are."""

from __future__ import annotations

import copy
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk import _logs
from opentelemetry.sdk._logs import LogRecordProcessor

from .batch import BatchProcessor

__all__ = ["LogBatchProcessor"]

_Readable: Any = getattr(_logs, "ReadableLogRecord", None)
"""What newer exporters take; older ones take what the processor is given."""


class LogBatchProcessor(BatchProcessor, LogRecordProcessor):
    """Of emitted log records."""

    def on_emit(self, log_record: Any) -> None:
        said = copy.copy(log_record.log_record)
        said.context = Context()  # it may hold whatever the program was at
        if _Readable is not None:
            kept = _Readable(said, log_record.resource, log_record.instrumentation_scope, log_record.limits)
        else:
            kept = copy.copy(log_record)
            kept.log_record = said
        self.enqueue(kept)
