"""What the process remembers from one test to the next."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["reset"]

_PACKAGE = __name__.partition(".")[0]


def reset() -> None:
    """Forget all that calls and blocks of earlier tests have left in the process.

    Budgets that ``budget()`` has registered and what was spent of all budgets in memory, warnings that are given once,
    hosts that refused something, compiled prompts, documents found outside every block, and calls remembered for
    ``score()``. Calls that have ended are finished first. What ``instrument()`` has set up stays as it is.
    """
    if (worker := _loaded("capture.worker")) is not None:
        worker.drain(1.0)
    if (budget := _loaded("budgets.budget")) is not None:
        budget.forget()
    if (guard := _loaded("budgets.enforcement")) is not None:
        guard.forget_spending()
    if (values := _loaded("context.validation")) is not None:
        values.forget_warnings()
    if (score := _loaded("context.score")) is not None:
        score.forget_calls()
    if (shelf := _loaded("context.documents")) is not None:
        shelf.forget_traces()
    if (prompts := _loaded("context.prompts")) is not None:
        prompts.forget_templates()
    if (api := _loaded("_api")) is not None:
        for each in api._all():
            each._runtime.forget()
    if (faults := _loaded("_guard")) is not None:
        faults.faults.clear()


def _loaded(name: str) -> Any:
    """Return a module of the package if anything has imported it: what was never loaded remembers nothing."""
    return sys.modules.get(f"{_PACKAGE}.{name}")
