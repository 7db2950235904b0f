"""Record of the installed hooks, from which each is undone."""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from pkgutil import resolve_name
from time import sleep
from types import ModuleType
from typing import Any

import wrapt

from .._compat.standard_library import is_initializing
from .._compat.wrapt import BoundFunctionWrapper, FunctionWrapper
from .._errors import attempt
from .._process import new_thread
from ._foreign_wrappers import below_instrumentation, bypassing, package_of, redirect

_POLL_SECONDS = 0.005


class _BoundHook(BoundFunctionWrapper):
    """Hooked method of an instance or class, which is copied and pickled as the method itself is."""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        method: Any = self.__wrapped__
        owner = getattr(method, "__self__", None)  # absent if it was read from the class
        return self if owner is None else getattr(deepcopy(owner, memo), method.__name__)

    def __reduce__(self) -> Any:
        method: Any = self.__wrapped__
        owner = getattr(method, "__self__", None)
        if owner is None:
            return resolve_name, (f"{method.__module__}:{method.__qualname__}",)
        return getattr, (owner, method.__name__)

    def __reduce_ex__(self, protocol: object) -> Any:
        return self.__reduce__()


class _Hook(FunctionWrapper):
    """Wrapper in the place of a function, which also binds its instance when it is read from ``vars(cls)``."""

    __bound_function_wrapper__ = _BoundHook

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Reached only without attribute access: other packages wrap functions that they read from ``vars(cls)``.
        if args:
            return self.__get__(args[0], type(args[0]))(*args[1:], **kwargs)
        return super().__call__(*args, **kwargs)


class _FunctionHook(FunctionWrapper):
    """Wrapper in the place of a function of a module, which is copied and pickled as the function itself is."""

    # It has no ``__call__`` of its own, which would add a frame: hooks may look at the frames above them.

    _self_place = ""

    def __copy__(self) -> Any:
        return self

    def __deepcopy__(self, memo: object) -> Any:
        return self

    def __reduce__(self) -> Any:
        return resolve_name, (self._self_place,)

    def __reduce_ex__(self, protocol: object) -> Any:
        return self.__reduce__()


class Patches:
    """The hooks of one SDK."""

    def __init__(self) -> None:
        self._done: list[tuple[Any, str, Any, Any]] = []
        self.missing: list[str] = []
        """Functions that this release of the SDK lacks."""
        self.active: bool = True
        self.bypassed: list[str] = []
        """Wrappers of other packages that call the original function and so bypass our hook."""
        self.joined: Callable[[], None] | None = None
        """Callback after a part has joined."""
        self._parts: list[Patches] = []
        self._registrations: list[Callable[[], None]] = []

    def register(self, undo: Callable[[], None]) -> None:
        """Record a registration with the library, which ``undo`` removes."""
        self._registrations.append(undo)

    def when_imported(self, name: str, install: _Install) -> None:
        """Call ``install`` with the module ``name`` and the patches for its hooks, now or when it is imported."""
        module = sys.modules.get(name)
        if module is None:
            if name not in _waiting:
                _waiting[name] = []
                wrapt.register_post_import_hook(partial(_imported, name), name)
            _waiting[name].append((self, install))
        elif is_initializing(module):  # its import needs the module whose hooks are being installed
            new_thread("import", self._install_after_import, name, module, install).start()
        else:
            self._install(module, install)

    def _install_after_import(self, name: str, module: ModuleType, install: _Install) -> None:
        # Poll instead of importing it: the application may be importing it at this moment.
        while self.active and sys.modules.get(name) is module:
            if not is_initializing(module):
                self._install(module, install)
                return
            sleep(_POLL_SECONDS)

    def _install(self, module: Any, install: _Install) -> None:
        if not self.active:
            return
        part = Patches()
        attempt(f"hook {module.__name__}", install, module, part)
        self.join(part)

    def join(self, part: Patches) -> None:
        """Add the hooks of a part of the SDK. ``undo`` removes them too."""
        self._parts.append(part)
        self.missing += part.missing
        self.bypassed += part.bypassed
        if self.joined is not None:
            self.joined()

    def wrap(self, owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
        """Replace ``owner.name`` with ``wrapper(wrapped, instance, args, kwargs)``.

        The hook is placed below the wrappers of other instrumentation, as if llmtrace had been first.
        """
        outermost = vars(owner).get(name)
        if outermost is None:
            self.missing.append(f"{getattr(owner, '__qualname__', owner.__name__)}.{name}")
            return
        original = below_instrumentation(outermost)
        patched = self._make_hook(owner, name, original, wrapper)
        if original is outermost or not self._redirect(outermost, original, patched):
            original, patched = outermost, self._make_hook(owner, name, outermost, wrapper)
            setattr(owner, name, patched)
        self._done.append((owner, name, original, patched))
        if isinstance(owner, type):
            action = "look for the wrappers of other packages"
            attempt(action, self._redirect_subclasses, owner, name, original, patched)

    def _make_hook(self, owner: Any, name: str, original: Any, wrapper: Callable[..., Any]) -> Any:
        if isinstance(owner, type):
            return _Hook(original, wrapper)
        hook = _FunctionHook(original, wrapper)
        hook._self_place = f"{owner.__name__}:{name}"
        return hook

    def _redirect(self, outermost: Any, original: Any, patched: Any) -> bool:
        undo = redirect(outermost, original, patched)
        if undo is not None:
            self._registrations.append(undo)
        return undo is not None

    def _redirect_subclasses(self, owner: type, name: str, original: Any, patched: Any) -> None:
        for cls, own in bypassing(owner, name, original):
            if not self._redirect(own, original, patched):
                self.bypassed.append(f"{cls.__qualname__}.{name} ({package_of(own)})")
                continue
            self._done.append((cls, name, original, patched))  # in case the other package restores what it wrapped
            for attribute, value in list(vars(cls).items()):
                if value is original:
                    self.replace(cls, attribute, patched)

    def replace(self, owner: Any, name: str, value: Any) -> None:
        """Replace the object ``owner.name``."""
        self._done.append((owner, name, vars(owner)[name], value))
        setattr(owner, name, value)

    def wrap_in(self, module: Any, owner: str, name: str, wrapper: Callable[..., Any]) -> None:
        """Wrap ``name`` of the class ``owner`` of ``module``, if this release has it; else record it as missing."""
        cls = getattr(module, owner, None)
        if cls is None:
            self.missing.append(f"{owner}.{name}")
        else:
            self.wrap(cls, name, wrapper)

    def wrap_when_imported(self, module: str, owner: str, **wrappers: Callable[..., Any]) -> None:
        """Wrap methods of the class ``owner``, or functions of a module without one, now or when it is imported."""

        def install(imported: Any, patches: Patches) -> None:
            for name, wrapper in wrappers.items():
                if owner:
                    patches.wrap_in(imported, owner, name, wrapper)
                else:
                    patches.wrap(imported, name, wrapper)

        self.when_imported(module, install)

    @property
    def done(self) -> bool:
        """True if a hook is in place."""
        return bool(self._done or self._registrations) or any(part.done for part in self._parts)

    def undo(self) -> None:
        """Restore the originals. A hook below another package's wrapper stays in place and does nothing."""
        self.active = False
        for entries in list(_waiting.values()):
            entries[:] = [entry for entry in entries if entry[0] is not self]
        for part in self._parts:
            part.undo()
        for unregister in self._registrations:
            unregister()
        self._registrations.clear()
        for owner, name, original, patched in reversed(self._done):
            if vars(owner).get(name) is patched:
                setattr(owner, name, original)
        self._done.clear()


_Install = Callable[[Any, Patches], None]
_waiting: dict[str, list[tuple[Patches, _Install]]] = {}
"""Hooks to install in modules that are not imported yet."""


def _imported(name: str, module: Any) -> None:
    for patches, install in _waiting.pop(name, ()):
        patches._install(module, install)
