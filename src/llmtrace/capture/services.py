"""Services that a call uses: pricing, budgets, estimates and telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import worker

if TYPE_CHECKING:
    from ..budgets.enforcement import BudgetEnforcer
    from ..model import CallContext
    from ..model.call_stages import FinishedCall
    from ..pricing.estimator import Estimator
    from ..pricing.price import Pricer
    from ..providers.openai.stream_usage import UsageInjector
    from ..telemetry.spans import SpanEmitter


Observer = Callable[["FinishedCall"], object]
"""Called for each finished call, sampled or not."""


@dataclass(slots=True)
class CallServices:
    """Services of one instrumentation, shared by all its calls."""

    emitter: SpanEmitter
    pricer: Pricer | None = None
    observers: list[Observer] = field(default_factory=list)
    keep_body: Callable[[FinishedCall, Any], object] | None = None
    """Called for each finished call with its request body, ``None`` if it is not available."""
    budgets: BudgetEnforcer | None = None
    stream_usage: UsageInjector | None = None
    estimator: Estimator | None = None
    wants_content: Callable[[CallContext], bool] | None = None
    """Predicate on the call context: True if content is recorded. ``None`` records no content."""
    recorders: list[Any] = field(default_factory=list)
    """``Calls`` lists that receive every call of the process."""
    native_spans: str = "replace"

    def preload_prices(self) -> None:
        """Load the prices on the worker thread, unless they are loaded."""
        if self.pricer is not None and not self.pricer.ready:
            worker.start()
            worker.submit(self.pricer.load)
