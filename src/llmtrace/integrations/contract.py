"""Description of a framework that reports the steps of its runs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..capture.services import CallServices
from ..providers._patches import Patches


@dataclass(frozen=True, slots=True)
class Integration:
    """A framework whose agents, tools and searches get spans. The calls to models are traced by the SDK below it."""

    name: str
    """Name in ``LLMTRACE_CLIENTS``, and of the module of this package that has the function ``install``."""
    distribution: str
    """Name on PyPI."""
    module: str
    """Module whose import installs the bridge."""
    supported: str
    """Releases that are tested, as a version specifier."""

    @property
    def package(self) -> str:
        """Package that contains ``module``; empty for a top-level module."""
        return self.module.rpartition(".")[0]

    def install(self, module: Any, services: CallServices) -> Patches:
        """Install the bridge in the imported ``module``. Calls of frameworks need no services of their own."""
        patches: Patches = import_module(f".{self.name}", __package__).install(module)
        return patches
