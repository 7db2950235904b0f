"""Tools for tests of programs that call models: the pytest plugin and its parts."""

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
    # Import on first use: every run of pytest loads the plugin, and most do not need OpenTelemetry.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    return value


@contextmanager
def strict() -> Iterator[None]:
    """Raise internal errors of llmtrace inside the block, instead of logging them."""
    previous = _errors._strict
    _errors.set_strict(True)
    try:
        yield
    finally:
        _errors.set_strict(previous)
