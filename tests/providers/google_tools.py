"""Functions a model may call. The first releases of google-genai need their annotations to be types, not text."""

from collections.abc import Callable
from typing import Any


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sun in {city}"


def weather_by(work: Callable[[str], Any]) -> Callable[..., Any]:
    """A function of that name which does ``work``."""

    def weather(city: str) -> str:
        """The weather in a city."""
        return str(work(city))

    return weather
