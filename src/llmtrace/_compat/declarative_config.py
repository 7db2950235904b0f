"""Makers of providers in ``opentelemetry-configuration``, which are private until the format is final."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def load_makers() -> tuple[Callable[..., Any], ...]:
    """Return the functions that read a configuration file and make a resource and the providers of each signal.

    Raises:
        ImportError: The package is not installed, or this release has other internals.
    """
    from opentelemetry.configuration import load_config_file
    from opentelemetry.configuration._logger_provider import create_logger_provider
    from opentelemetry.configuration._meter_provider import create_meter_provider
    from opentelemetry.configuration._resource import create_resource
    from opentelemetry.configuration._tracer_provider import create_tracer_provider

    return load_config_file, create_resource, create_tracer_provider, create_meter_provider, create_logger_provider
