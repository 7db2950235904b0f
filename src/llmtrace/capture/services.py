"""Services that a call uses: pricing, budgets, estimates and telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from . import worker

if TYPE_CHECKING:
    from ..budgets.enforcement import BudgetEnforcer
    from ..model import CallContext
    from ..model.call_stages import CallStart, FinishedCall
    from ..pricing.estimator import Estimator
    from ..pricing.price import Pricer
    from ..providers.openai.stream_usage import UsageInjector


class CallEmitter(Protocol):
    """Interface of the telemetry of calls."""

    def begin(self, call: CallStart, parent_context: Any) -> tuple[Any, Any]:
        """Start the span. Return it, and the span that is current while the SDK works on the call."""

    def defer(self, span: Any, finished: Callable[[], FinishedCall]) -> None:
        """Prepare a joined span for being ended by its owner before the call is priced."""

    def before_end(self, span: Any, notify: Callable[[], Callable[[], None] | None]) -> None:
        """Have the function that ``notify`` returns, if any, called when the owner of a joined span ends it."""

    def end(self, call: FinishedCall, span: Any, parent_context: Any, end_time: int | None) -> None:
        """Write the attributes and end the span, at ``end_time`` (nanoseconds since the epoch) if it is set."""


Observer = Callable[["FinishedCall"], object]
"""Called for each finished call, sampled or not."""


@dataclass(slots=True)
class CallServices:
    """Services of one instrumentation, shared by all its calls."""

    emitter: CallEmitter
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
