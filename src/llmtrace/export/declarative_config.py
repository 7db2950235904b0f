"""Providers built from a declarative configuration file, which are not set as global providers."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from .._compat.declarative_config import load_makers
from .._settings import ConfigError
from .._settings.environment import variable
from .signals import LOGS, METRICS, TRACES, Signal


class DeclarativeConfig:
    """The providers of ``OTEL_CONFIG_FILE``, if it is set.

    OpenTelemetry's public function is not used, because it sets the global providers, which belong to the application.
    """

    def __init__(self) -> None:
        self._providers: dict[Signal, Any] | None = None
        self._read = False

    def provider(self, signal: Signal) -> Any:
        """Return the provider that the file describes, once it is read."""
        return None if self._providers is None else self._providers.get(signal)

    def read(self) -> bool:
        """Build the providers that the file describes. Return False if there is no file.

        Raises:
            ConfigError: The file is invalid, or its parser is not installed.
        """
        file = variable("OTEL_CONFIG_FILE")
        if file and not self._read:
            self._read = True
            self._providers = _load_providers(file)
        return self._providers is not None


def _load_providers(file: str) -> dict[Signal, Any]:
    try:
        make = load_makers()
    except ImportError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={file!r} needs the package opentelemetry-configuration ({error})"
        ) from error
    try:
        config = make.load_file(file)
        if config.disabled:
            return {TRACES: trace.NoOpTracerProvider()}
        resource = make.resource(config.resource)
        limits = config.attribute_limits
        providers: dict[Signal, Any] = {TRACES: make.tracer_provider(config.tracer_provider, resource, limits)}
        if config.meter_provider is not None:
            providers[METRICS] = make.meter_provider(config.meter_provider, resource)
        if config.logger_provider is not None:
            providers[LOGS] = make.logger_provider(config.logger_provider, resource, limits)
    except Exception as error:
        raise ConfigError(f"OTEL_CONFIG_FILE={file!r} is not accepted: {error}") from error
    return providers
