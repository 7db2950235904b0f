"""Hooks in further modules of a framework, which may be imported later than the one that installs the bridge."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import sleep
from types import ModuleType
from typing import Any

import wrapt

from .._compat.standard_library import is_initializing
from .._errors import log_internal_error
from .._process import new_thread
from ..providers._patches import Patches

__all__ = ["install_part"]

_POLL_SECONDS = 0.005


def install_part(patches: Patches, name: str, install: Callable[[Any, Patches], None]) -> None:
    """Call ``install`` with the module ``name`` once it is imported; ``patches`` get the hooks that it installs."""

    def imported(module: Any) -> None:
        try:
            if patches.active:
                part = Patches()
                install(module, part)
                patches.join(part)
        except Exception:
            log_internal_error(f"hook {name}")

    def wait(module: ModuleType) -> None:
        # Poll instead of importing it: the application may be importing it at this moment.
        while patches.active and sys.modules.get(name) is module:
            if not is_initializing(module):
                imported(module)
                return
            sleep(_POLL_SECONDS)

    module = sys.modules.get(name)
    if module is not None and is_initializing(module):  # its import needs the module that installs the bridge
        new_thread("import", wait, module).start()
    else:
        wrapt.register_post_import_hook(imported, name)
