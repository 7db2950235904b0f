"""The context of a call: tags, prompt, retrieved documents, agent and parent span."""

from __future__ import annotations

from typing import Any

__all__ = ["prompts"]


def __getattr__(name: str) -> Any:
    # Load ``llmtrace.prompts`` on first use: importing this package must load nothing else.
    if name == "prompts":
        from importlib import import_module

        return import_module(".prompts", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
