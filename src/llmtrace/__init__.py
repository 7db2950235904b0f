"""OpenTelemetry tracing of calls to large language models: one span per call."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would take longer than the rest of this module

if TYPE_CHECKING:
    from . import testing as testing
    from ._api import Instrumentation as Instrumentation
    from ._api import flush as flush
    from ._api import instrument as instrument
    from ._api import shutdown as shutdown
    from ._api import uninstrument as uninstrument
    from ._settings import ConfigError as ConfigError
    from ._settings import Settings as Settings
    from .budgets.budget import Budget as Budget
    from .budgets.budget import BudgetExceeded as BudgetExceeded
    from .budgets.budget import budget as budget
    from .context import prompts as prompts
    from .context.collect import Calls as Calls
    from .context.collect import collect as collect
    from .context.operations import agent as agent
    from .context.operations import tool as tool
    from .context.operations import workflow as workflow
    from .context.prompts import Prompt as Prompt
    from .context.prompts import prompt as prompt
    from .context.propagate import ContextExecutor as ContextExecutor
    from .context.propagate import wrap as wrap
    from .context.retrieval import rerank as rerank
    from .context.retrieval import retrieval as retrieval
    from .context.score import score as score
    from .context.tags import current as current
    from .context.tags import tag as tag
    from .model import Call as Call
    from .model import CallContext as CallContext
    from .model import Cost as Cost
    from .model import Document as Document
    from .model import Usage as Usage
    from .serverless import flushed as flushed

_NAMES = {
    "_api": ("Instrumentation", "flush", "instrument", "shutdown", "uninstrument"),
    "_settings": ("ConfigError", "Settings"),
    "budgets.budget": ("Budget", "BudgetExceeded", "budget"),
    "context.collect": ("Calls", "collect"),
    "context.operations": ("agent", "tool", "workflow"),
    "context.prompts": ("Prompt", "prompt", "prompts"),
    "context.propagate": ("ContextExecutor", "wrap"),
    "context.retrieval": ("rerank", "retrieval"),
    "context.score": ("score",),
    "context.tags": ("current", "tag"),
    "model": ("Call", "CallContext", "Cost", "Document", "Usage"),
    "serverless": ("flushed",),
    "testing": ("testing",),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}

__all__ = tuple(sorted(_MODULES))  # type checkers read the imports above
__version__: str
"""Version of the installed package, which its Git tag decides."""


def __getattr__(name: str) -> object:
    if name == "__version__":
        version = globals()[name] = _installed_version()
        return version
    try:
        path = _MODULES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    from importlib import import_module

    module = import_module(f".{path}", __name__)
    member = globals()[name] = getattr(module, name, module)  # ``prompts`` and ``testing`` are modules
    return member


def _installed_version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("llmtrace-otel")
    except PackageNotFoundError:  # a source tree on the path that is not installed
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
