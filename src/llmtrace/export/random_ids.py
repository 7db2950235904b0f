"""Trace and span ids that do not draw from the program's own random numbers."""

from __future__ import annotations

import random

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import INVALID_SPAN_ID, INVALID_TRACE_ID

from .._process import after_fork

_random = random.Random()
after_fork(_random.seed)


class PrivateIdGenerator(RandomIdGenerator):
    """Id generator with a random generator of its own.

    The one of OpenTelemetry draws from ``random``: a program that calls ``random.seed()`` would get other numbers with
    llmtrace than without, and the same trace ids in every run.
    """

    def generate_span_id(self) -> int:
        """Return a random 64-bit id that is not the invalid one."""
        while (span_id := _random.getrandbits(64)) == INVALID_SPAN_ID:
            pass
        return span_id

    def generate_trace_id(self) -> int:
        """Return a random 128-bit id that is not the invalid one."""
        while (trace_id := _random.getrandbits(128)) == INVALID_TRACE_ID:
            pass
        return trace_id
