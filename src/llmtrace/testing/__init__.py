"""For tests of programs that call models: the pytest plugin, and what it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .. import _errors

if TYPE_CHECKING:
    from .recorder import Recording as Recording
    from .recorder import recording as recording
    from .state import reset as reset

_HOMES = {"Recording": "recorder", "recording": "recorder", "reset": "state"}

__all__ = ["Recording", "recording", "reset", "strict"]


def __getattr__(name: str) -> object:
    # The plugin is loaded in every run of pytest; OpenTelemetry need not be.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


@contextmanager
def strict() -> Iterator[None]:
    """Faults of llmtrace itself are raised inside the block, rather than logged."""
    before = _errors._strict
    _errors.set_strict(True)
    try:
        yield
    finally:
        _errors.set_strict(before)
