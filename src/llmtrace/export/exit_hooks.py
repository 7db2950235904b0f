"""Exit hooks that also run in multiprocessing and Celery workers, which skip ``atexit``."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

from .._compat.standard_library import is_forked_by_billiard
from ..capture import worker

_callback: Callable[[], None] | None = None
_finalizer: Any = None
_installed_in_pid: int | None = None


def register(callback: Callable[[], None]) -> None:
    """Register ``callback`` to run at exit, before hooks that were registered earlier."""
    global _callback  # noqa: PLW0603 - one callback per process
    if _callback is not None:
        atexit.unregister(_callback)
    _callback = callback
    atexit.register(callback)
    worker.start_callbacks["leave"] = install
    install()


def install() -> None:
    """Install the callback in a worker of multiprocessing or Celery, which ends by ``os._exit``."""
    global _finalizer, _installed_in_pid
    # Install again in each child: multiprocessing clears the finalizers after it has imported the program.
    if _is_child() and (_installed_in_pid != os.getpid() or not _finalizer.still_active()):
        from multiprocessing.util import Finalize

        # Use a low priority, because the highest runs first: queues and pools of the program must end before.
        _finalizer, _installed_in_pid = Finalize(None, _run, exitpriority=-100), os.getpid()
    celery = sys.modules.get("celery.signals")
    if celery is not None:  # the workers of its pool run no finalizers
        celery.worker_process_shutdown.connect(_run, weak=False, dispatch_uid="llmtrace")


def _is_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return True
    return is_forked_by_billiard()


def _run(**_: object) -> None:
    if _callback is not None:
        _callback()
