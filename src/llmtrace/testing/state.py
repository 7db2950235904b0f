"""State that the process keeps from one test to the next, and its reset."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["reset"]

_PACKAGE = __name__.partition(".")[0]


def reset() -> None:
    """Forget the state that calls and blocks of earlier tests have left in the process.

    This includes budgets registered by ``budget()``, the amounts spent of budgets in memory, the warnings that are
    logged once, hosts that reject request options, compiled prompts, documents retrieved outside every block, and the
    calls that ``score()`` can find. Waits up to one second for calls that have ended to be recorded first. The
    instrumentation set up by ``instrument()`` stays.
    """
    if (worker := _loaded("capture.worker")) is not None:
        worker.drain(1.0)
    if (budget := _loaded("budgets.budget")) is not None:
        budget.forget()
    if (enforcement := _loaded("budgets.enforcement")) is not None:
        enforcement.forget_spending()
    if (process := _loaded("_process")) is not None:
        process.forget_warnings()
    if (score := _loaded("context.score")) is not None:
        score.forget_calls()
    if (documents := _loaded("context.documents")) is not None:
        documents.forget_traces()
    if (prompts := _loaded("context.prompts")) is not None:
        prompts.forget_templates()
    if (api := _loaded("_api")) is not None:
        for instrumentation in api._every_instrumentation():
            instrumentation._runtime.forget()
    if (errors := _loaded("_errors")) is not None:
        errors.internal_errors.clear()


def _loaded(name: str) -> Any:
    """Return a module of the package if it has been imported; others have no state to reset."""
    return sys.modules.get(f"{_PACKAGE}.{name}")
