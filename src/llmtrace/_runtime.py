"""Assembly of the services of one instrumentation."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Tracer, TracerProvider

from . import __version__
from ._local_store import open_store
from ._process import warn_once
from ._settings import ConfigError, Settings
from .budgets import budget
from .budgets.enforcement import BudgetEnforcer
from .budgets.remote_store import RemoteStore
from .budgets.stores import RedisStore
from .capture import worker
from .capture.services import CallServices
from .context import baggage, collect, operation, prompts, score
from .export import exit_hooks, termination
from .export.pipeline import Pipeline
from .export.routes import NO_ARGUMENTS, Arguments
from .pricing import tokens
from .pricing.estimator import Estimator
from .pricing.price import Pricer
from .providers.openai.stream_usage import UsageInjector
from .store.request_bodies import RequestBodies
from .telemetry.content_policy import ContentPolicy, load_policy
from .telemetry.events import Events
from .telemetry.metrics import Metrics
from .telemetry.operations import OperationSpans
from .telemetry.spans import SpanEmitter
from .telemetry.upload import Uploads, open_uploads

if TYPE_CHECKING:
    from opentelemetry._logs import Logger, LoggerProvider


@dataclass(frozen=True, slots=True)
class Providers:
    """OpenTelemetry providers passed by the application. ``None`` selects the global ones, or our own."""

    tracer: TracerProvider | None = None
    meter: MeterProvider | None = None
    logger: LoggerProvider | None = None
    arguments: Arguments = NO_ARGUMENTS
    """Arguments for our own provider, used if the application passes none."""


class Runtime:
    """Services that capture, price, describe and export the calls of one instrumentation."""

    def __init__(
        self, settings: Settings, providers: Providers, at_exit: Callable[[], None], named: Callable[[str], str]
    ) -> None:
        """Create the services. ``named`` returns the display name of a setting, for error messages.

        Raises:
            ConfigError: A setting has an invalid value.
        """
        self.settings = settings
        stored_bodies = None
        if settings.fingerprints == "auto" and providers.tracer is None:
            stored_bodies = RequestBodies(lambda: self.pipeline.stores())  # noqa: PLW0108 - the pipeline is made below
        self.pipeline = Pipeline(
            settings,
            providers.tracer,
            providers.meter,
            providers.logger,
            providers.arguments,
            partial(open_store, settings, stored_bodies),
        )
        pricer = Pricer(settings.prices, named("prices"))
        budgets = self._budgets = _budgets(settings, pricer, named)
        tracers = _TracerCache(self.pipeline, at_exit)
        self._uploads = _uploads()
        policy = _content_policy(settings, named, upload=self._uploads is not None)
        self._redact = policy.redact
        shared: dict[str, Any] = {"content": policy, "events": Events(self._logger), "bridges": self._bridges}
        metrics = Metrics(settings.metrics, settings.metric_dimensions, self.pipeline.meters, policy.clean)
        injector = estimator = None
        if settings.stream_usage != "never":
            injector = UsageInjector(settings.stream_usage, settings.stream_usage_hosts)
        if settings.estimate_usage != "off" and tokens.available():
            estimator = Estimator(pricer, settings.estimate_usage)
        self.services = CallServices(
            SpanEmitter(
                tracers,
                **shared,
                uploads=self._uploads,
                proposed_cost=settings.cost_attributes == "proposed",
            ),
            pricer=pricer,
            observers=[budgets.settle, metrics.record, collect.observe, score.remember],
            keep_body=None if stored_bodies is None else stored_bodies.remember,
            budgets=budgets,
            stream_usage=injector,
            estimator=estimator,
            wants_content=policy.wants,
            native_spans=settings.native_spans,
        )
        self._operation_spans = OperationSpans(
            tracers,
            **shared,
            rollup=settings.rollup,
            annotator=self.pipeline.annotations,
            observe=metrics.record_operation,
        )

    def _logger(self) -> Logger | None:
        provider: LoggerProvider | None = self.pipeline.loggers()
        return None if provider is None else provider.get_logger("llmtrace", __version__)

    def _bridges(self) -> tuple[str, ...]:
        """Return the bridges to apply to spans. Our own exporters apply them themselves."""
        return () if self.pipeline.own() else self.settings.bridges

    def activate(self) -> None:
        """Start to record blocks such as ``tool()``, and apply the settings of baggage and prompts."""
        operation.set_emitter(self._operation_spans)
        baggage.configure(self.settings.baggage_keys, self._redact)
        prompts.configure(self.settings.prompts)

    def deactivate(self) -> None:
        """Stop recording blocks, and reset baggage and prompts."""
        operation.set_emitter(None)
        baggage.configure(())
        prompts.configure(None)

    def forget(self) -> None:
        """Forget the state left by earlier calls: hosts, and warnings already logged."""
        self._budgets.forget()
        if self.services.stream_usage is not None:
            self.services.stream_usage.forget()

    def flush(self, timeout: float) -> bool:
        """Send all data within ``timeout`` seconds. Return True if everything was sent."""
        uploads = [] if self._uploads is None else [self._uploads.drain]
        return _run_all([self.pipeline.flush, self._budgets.drain, *uploads], timeout)

    def shutdown(self, timeout: float) -> bool:
        """Send all data and close the exporters within ``timeout`` seconds. Return True if everything was sent."""
        uploads = [] if self._uploads is None else [self._uploads.close]
        return _run_all([self.pipeline.shutdown, self._budgets.drain, *uploads], timeout)


def _run_all(steps: Iterable[Callable[[float], bool]], timeout: float) -> bool:
    """Run all steps with the seconds that are left, even if one fails. Return True if all succeed."""
    deadline = monotonic() + timeout
    return all([step(max(0.0, deadline - monotonic())) for step in steps])


def _content_policy(settings: Settings, named: Callable[[str], str], *, upload: bool) -> ContentPolicy:
    return load_policy(
        capture_content=settings.capture_content,
        redact=settings.redact,
        redact_setting=named("redact"),
        max_bytes=settings.content_max_bytes,
        blobs=settings.content_blobs,
        error_messages=settings.error_messages,
        upload=upload,
    )


class _TracerCache:
    """Cache of the current tracer of each client."""

    def __init__(self, pipeline: Pipeline, at_exit: Callable[[], None]) -> None:
        self._pipeline = pipeline
        self._at_exit = at_exit
        self._provider: TracerProvider | None = None
        self._tracers: dict[str, Tracer] = {}

    def __call__(self, client: str) -> Tracer:
        termination.look_again()
        provider = self._pipeline.provider()
        if provider is not self._provider:
            self._provider, self._tracers = provider, {}
            # Exit handlers run last in, first out: open streams must end before this provider shuts down.
            exit_hooks.register(self._at_exit)
        tracers = self._tracers
        found = tracers.get(client)
        if found is None:
            found = tracers[client] = provider.get_tracer(f"llmtrace.{client}", __version__)
        return found


def _uploads() -> Uploads | None:
    """Return the content upload that standard variables configure, or ``None`` if they are invalid."""
    try:
        return open_uploads()
    except ConfigError as error:
        warn_once(f"llmtrace uploads no content: {error}")
        return None


def _budgets(settings: Settings, pricer: Pricer, named: Callable[[str], str]) -> BudgetEnforcer:
    configured = budget.read(settings.budgets, named("budgets"))
    if any(each.action == "block" for each in configured.values()):
        # Load prices now: the maximum cost is needed before the first request is sent.
        worker.start()
        worker.submit(pricer.load)
    if settings.budget_store == "memory":
        return BudgetEnforcer(pricer, configured)
    try:
        return BudgetEnforcer(pricer, configured, RemoteStore(RedisStore(settings.budget_store)))
    except ImportError:
        raise ConfigError(
            f"{named('budget_store')}={settings.budget_store!r} needs the redis client:"
            " pip install 'llmtrace-otel[redis]'"
        ) from None
    except ValueError as error:
        raise ConfigError(f"{named('budget_store')}={settings.budget_store!r} is not accepted: {error}") from None
