"""Start Python programs in a third of the time: as children of a process that has imported the vendors' clients.

A child runs its program as Python would run it, from its ``__main__`` to its exit. It differs in that the clients and
llmtrace are imported before the program begins, so programs about imports and start-up are started as usual.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import runpy
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

_IMPORTED = (
    "anthropic",
    "google.genai",
    "openai.lib._chat_completion_resources",
    "openai.resources.chat.completions",
    "httpcore2",  # below the newest clients, which import it with their first call
    "h2.connection",
    "http.server",
    "genai_prices",
    "opentelemetry.sdk._logs",
    "opentelemetry.sdk.metrics.export",
    "opentelemetry.sdk.trace.export",
    "opentelemetry.proto.trace.v1.trace_pb2",
    "llmtrace.cli.commands",
    "llmtrace.export.otlp.http_transport",
    "llmtrace.export.pipeline",
    "llmtrace.export.spool.buffer",
    "llmtrace.providers.registry",
    "llmtrace.store.exporter",
    "llmtrace._api",
    "llmtrace._compat.price_data",
)


class WarmPython:
    """A process that imports the clients once and runs programs, one after the other, each in a child."""

    def __init__(self, folder: Path) -> None:
        self._output, self._errors = folder / "stdout", folder / "stderr"
        self._process = subprocess.Popen([sys.executable, __file__], stdin=-1, stdout=-1, text=True)

    def run(self, arguments: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run Python with ``arguments``, a file or ``-m`` and a module first, to its end."""
        files = {"output": str(self._output), "errors": str(self._errors)}
        request = {"arguments": arguments, "cwd": str(cwd), "environ": dict(environ), **files}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        status = int(self._process.stdout.readline())
        return subprocess.CompletedProcess(arguments, status, self._output.read_text(), self._errors.read_text())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _next_program() -> dict[str, Any]:
    """Return, in a child, the program to run; at the end of the requests, end the process."""
    for line in sys.stdin:
        child = os.fork()
        if not child:
            program: dict[str, Any] = json.loads(line)
            return program
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def _start(program: dict[str, Any]) -> None:
    """Become the process that Python would start for the program."""
    for descriptor, path in ((0, os.devnull), (1, program["output"]), (2, program["errors"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC if descriptor else os.O_RDONLY, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(program["environ"])
    os.chdir(program["cwd"])
    folders = [str(Path(folder).absolute()) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    sys.argv = [*program["arguments"]]
    sys.path[:1] = [str(Path(sys.argv[0]).absolute().parent), *folders]
    for folder in folders:
        with suppress(FileNotFoundError):
            runpy.run_path(str(Path(folder, "sitecustomize.py")))


def _run() -> None:
    if sys.argv[0] == "-m":
        del sys.argv[0]
        sys.path[0] = os.getcwd()
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


def _end(status: int) -> NoReturn:
    """Exit as Python does, but for freeing a hundred thousand objects, which takes longer than most programs."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    for name in _IMPORTED:
        with suppress(ImportError):
            import_module(name)
    gc.freeze()  # or a collection in a child would copy all of it
    _start(_next_program())
    try:
        _run()
    except SystemExit as error:
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
        _end(error.code if isinstance(error.code, int) else bool(error.code))
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)
