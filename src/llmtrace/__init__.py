"""One OpenTelemetry span for every call a program makes to a large language model."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all the rest

if TYPE_CHECKING:
    from ._api import Instrumentation as Instrumentation
    from ._api import flush as flush
    from ._api import instrument as instrument
    from ._api import shutdown as shutdown
    from ._api import uninstrument as uninstrument
    from ._config import ConfigError as ConfigError
    from ._config import Settings as Settings
    from .cost.budget import Budget as Budget
    from .cost.budget import BudgetExceeded as BudgetExceeded
    from .cost.budget import budget as budget

_HOMES = {
    "Budget": "cost.budget",
    "BudgetExceeded": "cost.budget",
    "budget": "cost.budget",
    "ConfigError": "_config",
    "Instrumentation": "_api",
    "Settings": "_config",
    "flush": "_api",
    "instrument": "_api",
    "shutdown": "_api",
    "uninstrument": "_api",
}

__all__ = (
    "Budget",
    "BudgetExceeded",
    "ConfigError",
    "Instrumentation",
    "Settings",
    "budget",
    "flush",
    "instrument",
    "shutdown",
    "uninstrument",
)
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
