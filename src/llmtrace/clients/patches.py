"""What was put where, so that undoing comes from the record of what was done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import wrapt

__all__ = ["Patches"]


class Patches:
    """The hooks of one SDK."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []
        self.missing: list[str] = []
        """Functions that this release of the SDK lacks."""
        self.active = True
        self._parts: list[Patches] = []

    def join(self, part: Patches) -> None:
        """Undo ``part`` with the rest: it came later, when another module of the SDK was imported."""
        self._parts.append(part)

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Put ``wrapper(wrapped, instance, args, kwargs)`` in the place of ``owner.name``."""
        original = vars(owner).get(name)
        if original is None:
            self.missing.append(f"{getattr(owner, '__qualname__', owner.__name__)}.{name}")
            return
        patched = wrapt.FunctionWrapper(original, wrapper)
        setattr(owner, name, patched)
        self._done.append((owner, name, original, patched))

    def undo(self) -> None:
        """Put the originals back. Below a foreign wrapper on top the hook stays, and is silent."""
        self.active = False
        for part in self._parts:
            part.undo()
        for owner, name, original, patched in reversed(self._done):
            if vars(owner).get(name) is patched:
                setattr(owner, name, original)
        self._done.clear()
