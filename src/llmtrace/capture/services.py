"""Protocols of the services that a call uses: pricing, budgets, estimates and telemetry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from . import worker

if TYPE_CHECKING:
    from ..model import CallContext, Request, Response
    from ..pricing.estimator import OutputText
    from ..pricing.money import PricedCall
    from .call import OpenCall

__all__ = ["CallEmitter", "CallPricer", "CallServices", "Observer", "StreamUsageInjector"]


class CallPricer(Protocol):
    """Interface of the pricing of calls."""

    @property
    def ready(self) -> bool:
        """True if prices are loaded. Until then calls end on the worker thread, which calls ``load``."""

    def load(self) -> object:
        """Load the price catalog."""

    def price(
        self,
        provider: str,
        host: str | None,
        request: Request,
        response: Response,
        at: float | None = None,
        *,
        partial: bool = False,
    ) -> PricedCall | None:
        """Return the cost of a call, or ``None`` if its operation is not billed.

        Args:
            provider: The provider that served the call.
            host: The host name of the server, if known.
            request: The request.
            response: The response with its usage.
            at: When the call started, in seconds since the epoch.
            partial: True if the stream ended early, so that the usage is incomplete.
        """

    def price_without_catalog(self, request: Request, response: Response) -> PricedCall | None:
        """Return the stated cost of a call, or the reason for its absence, while prices are not loaded."""


class CallEmitter(Protocol):
    """Interface of the telemetry of calls."""

    def begin(self, call: OpenCall) -> None:
        """Start the span and set ``call.span`` and ``call.span_context``."""

    def defer(self, call: OpenCall) -> None:
        """Prepare a joined span for being ended by its owner before the call is priced.

        Called only if ``call.joins_existing_span`` is set.
        """

    def end(self, call: OpenCall, end_time: int | None) -> None:
        """Write the attributes and end the span, at ``end_time`` (nanoseconds since the epoch) if it is set."""


class StreamUsageInjector(Protocol):
    """Interface of the injection of ``stream_options.include_usage``."""

    def inject(self, call: OpenCall, options: Any) -> Any:
        """Return the options of a request, with ``include_usage`` added where the settings allow it."""

    def on_error(self, call: OpenCall, error: BaseException) -> None:
        """Stop adding the option for a host that rejected it."""

    def forget(self) -> None:
        """Forget which hosts rejected the option."""


class UsageEstimator(Protocol):
    """Interface of the estimation of missing token counts."""

    def buffer_for(self, call: OpenCall) -> OutputText | None:
        """Return a buffer for the output text of a stream whose usage may stay unreported, else ``None``."""

    def take(self, call: OpenCall, body: Any) -> None:
        """Keep the output text of a complete response that reports no usage."""

    def applies_to(self, call: OpenCall) -> bool:
        """Return True if the usage of a finished call is to be estimated."""

    def estimate(self, call: OpenCall) -> None:
        """Count the tokens of a finished call and set ``call.estimate``."""


class Verdict(Protocol):
    """Pending budget decision of a shared store."""

    def wait(self) -> Exception | None:
        """Wait for the decision. Return the exception to raise, or ``None`` to send the request."""

    async def wait_async(self) -> Exception | None:
        """Wait for the decision without blocking the event loop."""


Observer = Callable[["OpenCall"], object]
"""Called for each finished call, sampled or not."""


@dataclass(slots=True)
class CallServices:
    """Services of one instrumentation, shared by all its calls."""

    emitter: CallEmitter
    pricer: CallPricer | None = None
    observers: list[Observer] = field(default_factory=list)
    admit: Callable[[OpenCall], Exception | Verdict | None] | None = None
    """Called before a request is sent. An exception that it returns is raised instead of sending the request."""
    stream_usage: StreamUsageInjector | None = None
    estimator: UsageEstimator | None = None
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
