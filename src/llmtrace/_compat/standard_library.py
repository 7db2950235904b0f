"""Private parts of the standard library, and of what stands in for it."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


def find_getsignal() -> Callable[[int], Any]:
    """Return the function that returns the handler of a signal: the one below ``signal`` takes a tenth of the time."""
    try:
        getsignal: Callable[[int], Any] = import_module("_signal").getsignal
    except (ImportError, AttributeError):
        return signal.getsignal
    return getsignal


def running_task() -> Any:
    """Return the running task of asyncio, ``None`` outside a task."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    # Check for a loop first: ``current_task`` raises without one, which is slower than the rest of this function.
    find_loop = getattr(asyncio, "_get_running_loop", None)
    if find_loop is not None and find_loop() is None:
        return None
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_initializing(module: ModuleType) -> bool:
    """Return True while the module is being imported; without the flag of ``importlib``, never."""
    return bool(getattr(module.__spec__, "_initializing", False))


def is_forked_by_billiard() -> bool:
    """Return True in a worker of Celery's pool, whose processes are not those of ``multiprocessing``."""
    billiard = sys.modules.get("billiard.process")
    return billiard is not None and getattr(billiard.current_process(), "_parent_pid", None) is not None
