"""Functions that a model may call. Early releases of google-genai need annotations that are types, not text."""

from collections.abc import Callable
from typing import Any


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def weather_by(work: Callable[[str], Any]) -> Callable[..., Any]:
    """Return a function named ``weather`` that calls ``work``."""

    def weather(city: str) -> str:
        """The weather in a city."""
        return str(work(city))

    return weather
