"""The providers that a declarative configuration file describes, kept to ourselves."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from .._settings import ConfigError
from .routes import variable
from .signals import LOGS, METRICS, TRACES, Signal

__all__ = ["DeclarativeConfig"]


class DeclarativeConfig:
    """What ``OTEL_CONFIG_FILE`` says, if it is set. The public function would set the global providers, which are the
    application's to set."""

    def __init__(self) -> None:
        self._providers: dict[Signal, Any] | None = None
        self._read = False

    def provider(self, signal: Signal) -> Any:
        """What the file describes, once it has been read."""
        return None if self._providers is None else self._providers.get(signal)

    def read(self) -> bool:
        """Build what the file describes. False when there is none.

        Raises:
            ConfigError: The file cannot be used.
        """
        file = variable("OTEL_CONFIG_FILE")
        if file and not self._read:
            self._read = True
            self._providers = _described(file)
        return self._providers is not None


def _described(file: str) -> dict[Signal, Any]:
    try:
        from opentelemetry.configuration import load_config_file
        from opentelemetry.configuration._logger_provider import create_logger_provider
        from opentelemetry.configuration._meter_provider import create_meter_provider
        from opentelemetry.configuration._resource import create_resource
        from opentelemetry.configuration._tracer_provider import create_tracer_provider
    except ImportError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={file!r} needs the package opentelemetry-configuration ({error})"
        ) from error
    try:
        described = load_config_file(file)
        if described.disabled:
            return {TRACES: trace.NoOpTracerProvider()}
        resource = create_resource(described.resource)
        limits = described.attribute_limits
        found: dict[Signal, Any] = {TRACES: create_tracer_provider(described.tracer_provider, resource, limits)}
        if described.meter_provider is not None:
            found[METRICS] = create_meter_provider(described.meter_provider, resource)
        if described.logger_provider is not None:
            found[LOGS] = create_logger_provider(described.logger_provider, resource, limits)
    except Exception as error:
        raise ConfigError(f"OTEL_CONFIG_FILE={file!r} is not accepted: {error}") from error
    return found
