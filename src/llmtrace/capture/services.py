"""What the life of a call needs of the set-up, as protocols: who implements them is decided above."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from ..model import CallContext, Request, Response
    from ..pricing.estimator import OutputText
    from ..pricing.money import PricedCall
    from .call import OpenCall

__all__ = ["CallEmitter", "CallPricer", "CallServices", "InjectsUsage", "Observer"]


class CallPricer(Protocol):
    @property
    def ready(self) -> bool:
        """Whether ``price`` can be asked; until then the end of a call waits on the worker, which calls ``load``."""

    def load(self) -> object: ...

    def price(
        self,
        provider: str,
        host: str | None,
        request: Request,
        answer: Response,
        at: float | None = None,
        *,
        partial: bool = False,
    ) -> PricedCall | None:
        """``None`` for a call that bills nothing."""


class CallEmitter(Protocol):
    """Turns calls into telemetry."""

    def begin(self, call: OpenCall) -> None:
        """Start the span and set ``call.span`` and ``call.span_context``."""

    def defer(self, call: OpenCall) -> None:
        """Prepare for the owner of the span to end it before the call is priced. Only where ``call.joins_existing_span``."""

    def end(self, call: OpenCall, end_time: int | None) -> None:
        """Write what is known now and end the span, at ``end_time`` (nanoseconds) if that has passed."""


class InjectsUsage(Protocol):
    """Has streams tell their usage."""

    def inject(self, call: OpenCall, options: Any) -> Any:
        """The options of a request, with the wish in them where it may be."""

    def on_error(self, call: OpenCall, error: BaseException) -> None: ...

    def forget(self) -> None: ...


class UsageEstimator(Protocol):
    """Says what a call probably used, when nobody told."""

    def buffer_for(self, call: OpenCall) -> OutputText | None:
        """Return what keeps the words of a call until its usage is reported, where that may not happen."""

    def take(self, call: OpenCall, answer: Any) -> None:
        """Keep the words of a whole answer that reports no usage."""

    def applies_to(self, call: OpenCall) -> bool: ...

    def estimate(self, call: OpenCall) -> None: ...

    def forget(self) -> None: ...


class Verdict(Protocol):
    """What is returned for a call on which a shared store has yet to decide."""

    def wait(self) -> Exception | None: ...

    async def wait_async(self) -> Exception | None: ...


Observer = Callable[["OpenCall"], object]
"""Is told of every call that has ended, sampled or not."""


@dataclass(slots=True)
class CallServices:
    """The set-up of one ``instrument()``."""

    emitter: CallEmitter
    pricer: CallPricer | None = None
    observers: list[Observer] = field(default_factory=list)
    admit: Callable[[OpenCall], Exception | Verdict | None] | None = None
    """Called before a request leaves. An exception that it returns is raised in place of the request."""
    stream_usage: InjectsUsage | None = None
    estimator: UsageEstimator | None = None
    wants_content: Callable[[CallContext], bool] | None = None
    """Whether what is said in a call of that scope is to be kept. Without it nothing ever is."""
    recorders: list[Any] = field(default_factory=list)
    """The ``Calls`` that hear of every call of the process."""
    native_spans: str = "replace"
