"""Called when the process leaves, also where ``atexit`` is not: in the children of ``multiprocessing``."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any

from ..capture import worker

__all__ = ["install", "register"]

_callback: Callable[[], None] | None = None
_finaliser: Any = None
_made_in: int | None = None


def register(last_word: Callable[[], None]) -> None:
    """Have ``last_word`` called at exit, before whatever was registered earlier."""
    global _callback  # noqa: PLW0603 - one last word for the process
    if _callback is not None:
        atexit.unregister(_callback)
    _callback = last_word
    atexit.register(last_word)
    worker.start_callbacks["leave"] = install
    install()


def install() -> None:
    """Have it called also where a process ends by ``os._exit``: in children of ``multiprocessing`` and of Celery."""
    global _finaliser, _made_in
    # A child forgets, after it has imported the program, what was registered before.
    if _is_child() and (_made_in != os.getpid() or not _finaliser.still_active()):
        from multiprocessing.util import Finalize

        # Its finalisers run in order of priority, the highest first; queues and pools of the program come before us.
        _finaliser, _made_in = Finalize(None, _run, exitpriority=-100), os.getpid()
    celery = sys.modules.get("celery.signals")
    if celery is not None:  # the workers of its pool run no finalisers either
        celery.worker_process_shutdown.connect(_run, weak=False, dispatch_uid="llmtrace")


def _is_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        return True
    billiard = sys.modules.get("billiard.process")  # Celery's own, with the finalisers of multiprocessing
    return billiard is not None and getattr(billiard.current_process(), "_parent_pid", None) is not None


def _run(**_: object) -> None:
    if _callback is not None:
        _callback()
