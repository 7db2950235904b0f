"""State that the process keeps from one test to the next, and its reset."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_PACKAGE = __name__.partition(".")[0]


def reset() -> None:
    """Forget the state that calls and blocks of earlier tests have left in the process.

    This includes budgets registered by ``budget()``, the amounts spent of budgets in memory, the warnings that are
    logged once, hosts that reject request options, compiled prompts, documents retrieved outside every block, and the
    calls that ``score()`` can find. Waits up to one second for calls that have ended to be recorded first. The
    instrumentation set up by ``instrument()`` stays.
    """
    for name, forget in _FORGET.items():
        # Modules that have not been imported have no state.
        if (module := sys.modules.get(f"{_PACKAGE}.{name}")) is not None:
            forget(module)


def _forget_instrumentation(api: Any) -> None:
    for instrumentation in api._every_instrumentation():
        instrumentation._runtime.forget()


_FORGET: dict[str, Callable[[Any], object]] = {
    "capture.worker": lambda worker: worker.drain(1.0),
    "budgets.budget": lambda budget: budget.forget(),
    "budgets.enforcement": lambda enforcement: enforcement.forget_spending(),
    "_process": lambda process: process.forget_warnings(),
    "context.score": lambda score: score.forget_calls(),
    "context.documents": lambda documents: documents.forget_traces(),
    "context.prompts": lambda prompts: prompts.forget_templates(),
    "_api": _forget_instrumentation,
    "_errors": lambda errors: errors.internal_errors.clear(),
}
"""Function that resets the state of a module, by the name of the module, in order."""
