"""What surrounds a call: its parent, and what the program said of it."""

from __future__ import annotations

from typing import Any

__all__ = ["prompts"]


def __getattr__(name: str) -> Any:
    # The module that ``llmtrace.prompts`` is; nothing else may be loaded with the context.
    if name == "prompts":
        from importlib import import_module

        return import_module(".prompts", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
