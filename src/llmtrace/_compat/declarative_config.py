"""Makers of providers in ``opentelemetry-configuration``, which are private until the format is final."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Makers", "load_makers"]


class Makers(NamedTuple):
    """Functions of ``opentelemetry-configuration``."""

    load_file: Callable[..., Any]
    resource: Callable[..., Any]
    tracer_provider: Callable[..., Any]
    meter_provider: Callable[..., Any]
    logger_provider: Callable[..., Any]


def load_makers() -> Makers:
    """Return the functions that read a configuration file and make its providers.

    Raises:
        ImportError: The package is not installed, or this release has other internals.
    """
    from opentelemetry.configuration import load_config_file
    from opentelemetry.configuration._logger_provider import create_logger_provider
    from opentelemetry.configuration._meter_provider import create_meter_provider
    from opentelemetry.configuration._resource import create_resource
    from opentelemetry.configuration._tracer_provider import create_tracer_provider

    return Makers(
        load_config_file, create_resource, create_tracer_provider, create_meter_provider, create_logger_provider
    )
