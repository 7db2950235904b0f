"""Providers built from a declarative configuration file, which are not set as global providers."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace

from .._compat.declarative_config import load_makers
from .._settings import ConfigError
from .._settings.environment import variable
from .signals import LOGS, METRICS, TRACES, Signal


def load_providers() -> dict[Signal, Any] | None:
    """Return the providers that the file of ``OTEL_CONFIG_FILE`` describes, ``None`` if there is no file.

    OpenTelemetry's public function is not used, because it sets the global providers, which belong to the application.

    Raises:
        ConfigError: The file is invalid, or its parser is not installed.
    """
    file = variable("OTEL_CONFIG_FILE")
    if not file:
        return None
    try:
        load_file, make_resource, make_tracers, make_meters, make_loggers = load_makers()
    except ImportError as error:
        raise ConfigError(
            f"OTEL_CONFIG_FILE={file!r} needs the package opentelemetry-configuration ({error})"
        ) from error
    try:
        config = load_file(file)
        if config.disabled:
            return {TRACES: trace.NoOpTracerProvider()}
        resource = make_resource(config.resource)
        limits = config.attribute_limits
        providers: dict[Signal, Any] = {TRACES: make_tracers(config.tracer_provider, resource, limits)}
        if config.meter_provider is not None:
            providers[METRICS] = make_meters(config.meter_provider, resource)
        if config.logger_provider is not None:
            providers[LOGS] = make_loggers(config.logger_provider, resource, limits)
    except Exception as error:
        raise ConfigError(f"OTEL_CONFIG_FILE={file!r} is not accepted: {error}") from error
    return providers
