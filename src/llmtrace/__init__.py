"""One OpenTelemetry span for every call a program makes to a large language model."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all the rest

if TYPE_CHECKING:
    from . import testing as testing
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
    from .facts import Call as Call
    from .facts import Cost as Cost
    from .facts import Document as Document
    from .facts import Scope as Scope
    from .facts import Usage as Usage
    from .scope import prompts as prompts
    from .scope.collect import Calls as Calls
    from .scope.collect import collect as collect
    from .scope.prompts import Prompt as Prompt
    from .scope.prompts import prompt as prompt
    from .scope.propagate import ContextExecutor as ContextExecutor
    from .scope.propagate import wrap as wrap
    from .scope.retrieval import rerank as rerank
    from .scope.retrieval import retrieval as retrieval
    from .scope.score import score as score
    from .scope.spans import agent as agent
    from .scope.spans import tool as tool
    from .scope.spans import workflow as workflow
    from .scope.tags import current as current
    from .scope.tags import tag as tag
    from .serverless import flushed as flushed

_HOMES = {
    "Budget": "cost.budget",
    "BudgetExceeded": "cost.budget",
    "Call": "facts",
    "Calls": "scope.collect",
    "ConfigError": "_config",
    "ContextExecutor": "scope.propagate",
    "Cost": "facts",
    "Document": "facts",
    "Instrumentation": "_api",
    "Prompt": "scope.prompts",
    "Scope": "facts",
    "Settings": "_config",
    "Usage": "facts",
    "agent": "scope.spans",
    "budget": "cost.budget",
    "collect": "scope.collect",
    "current": "scope.tags",
    "flush": "_api",
    "flushed": "serverless",
    "instrument": "_api",
    "prompt": "scope.prompts",
    "prompts": "scope",
    "rerank": "scope.retrieval",
    "retrieval": "scope.retrieval",
    "score": "scope.score",
    "shutdown": "_api",
    "tag": "scope.tags",
    "testing": "testing",
    "tool": "scope.spans",
    "uninstrument": "_api",
    "workflow": "scope.spans",
    "wrap": "scope.propagate",
}

__all__ = (
    "Budget",
    "BudgetExceeded",
    "Call",
    "Calls",
    "ConfigError",
    "ContextExecutor",
    "Cost",
    "Document",
    "Instrumentation",
    "Prompt",
    "Scope",
    "Settings",
    "Usage",
    "agent",
    "budget",
    "collect",
    "current",
    "flush",
    "flushed",
    "instrument",
    "prompt",
    "prompts",
    "rerank",
    "retrieval",
    "score",
    "shutdown",
    "tag",
    "testing",
    "tool",
    "uninstrument",
    "workflow",
    "wrap",
)
__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    module = import_module(f".{home}", __name__)
    value = globals()[name] = module if home == name else getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
