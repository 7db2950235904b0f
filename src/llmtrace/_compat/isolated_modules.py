"""Private copies of another distribution's modules, for background threads that must not import shared modules.

While one thread imports a module, other threads see an incomplete module in ``sys.modules``. Some SDKs look modules up
there on every request (``openai`` 2.5x looks for ``httpx2``), so an import on a background thread breaks them. A
private copy is executed from the same files and bytecode, and no shared module is ever incomplete.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec, resolve_name
from types import ModuleType, SimpleNamespace
from typing import Any

from .._process import after_fork


class StubModule:
    """Substitute for a module whose results are not used: every attribute is a function that returns ``None``."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class IsolatedModules:
    """Private copies of modules. The ``__init__`` modules of the packages are never executed.

    Args:
        packages: Top-level packages whose modules are copied.
        substitutes: Replacements for ``import name`` inside the copies, by top-level name.
    """

    def __init__(self, *packages: str, substitutes: Mapping[str, Any]) -> None:
        # Locate the packages on the caller's thread: this runs every finder of the process.
        self._folders_by_package = {package: _folders(package) for package in packages}
        self._substitutes = substitutes
        self._builtins = {**vars(builtins), "__import__": self._import}
        self._modules: dict[str, ModuleType] = {}
        self._executing: set[str] = set()
        after_fork(self.after_fork)

    def load(self, name: str) -> Any:
        """Return the copy of the module ``name``, executed on first use.

        Raises:
            ImportError: The module does not exist.
        """
        module = self._modules.get(name)
        return self._execute(name) if module is None else module

    def _execute(self, name: str) -> ModuleType:
        spec = PathFinder.find_spec(name, self._folders_by_package[name.rpartition(".")[0]])
        if spec is None or spec.loader is None:
            raise ImportError(f"no module named {name!r}", name=name)
        code = spec.loader.get_code(name)  # type: ignore[attr-defined] # every loader of files has it
        module = module_from_spec(spec)
        if code is None:  # an extension module, which imports nothing
            spec.loader.exec_module(module)
            self._modules[name] = module
            return module
        module.__name__ = f"{__name__}.{name}"
        vars(module)["__builtins__"] = self._builtins
        # ``dataclasses`` looks up the module of a class by its name.
        self._modules[name] = sys.modules[module.__name__] = module
        self._executing.add(name)
        try:
            exec(code, vars(module))
        except BaseException:
            del self._modules[name], sys.modules[module.__name__]
            raise
        finally:
            self._executing.discard(name)
        return module

    def after_fork(self) -> None:
        """Forget, in a forked child, the modules that a thread of the parent was executing."""
        for name in self._executing:
            self._modules.pop(name, None)
        self._executing.clear()

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        if level:
            name = resolve_name("." * level + name, (globals or {})["__package__"])
        root = name.partition(".")[0]
        if root in self._substitutes:
            return self._substitutes[root]
        if name in self._folders_by_package:
            return SimpleNamespace(**{part: self.load(f"{name}.{part}") for part in fromlist or ()})
        if root in self._folders_by_package:
            return self.load(name)
        return builtins.__import__(name, globals, locals, fromlist or (), 0)


def _folders(package: str) -> list[str]:
    spec = find_spec(package)
    return list(spec.submodule_search_locations or ()) if spec is not None else []
