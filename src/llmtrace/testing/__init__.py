"""For tests of programs that call models: the pytest plugin, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .._guard import set_strict
from .recording import Recording, recording

__all__ = ["Recording", "recording", "strict"]


@contextmanager
def strict() -> Iterator[None]:
    """Faults of llmtrace itself are raised inside the block, rather than logged."""
    set_strict(True)
    try:
        yield
    finally:
        set_strict(False)
