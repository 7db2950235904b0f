"""Windows, simulated: everything that only POSIX has is taken away from ``os``, ``signal`` and the module path.

What the standard library and others need of it is imported before, so that the code without those names is ours.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from export.backend import Backend

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

WITHOUT_POSIX = """
import os, signal, sys, time, types
import asyncio, concurrent.futures, json, logging, multiprocessing, sqlite3, ssl, subprocess, tempfile  # noqa
import click, numpy, requests, rich.console, openai, platformdirs, wrapt  # noqa
import opentelemetry.sdk.trace, opentelemetry.sdk.metrics, opentelemetry.sdk._logs  # noqa
import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa
import opentelemetry.exporter.otlp.proto.http.metric_exporter  # noqa
import fcntl as posix_locks
try: import trio  # some HTTP clients import it where it is installed
except ImportError: pass
platformdirs.user_state_dir("llmtrace")

windows = types.ModuleType("msvcrt")
windows.LK_NBLCK = 2
windows.locking = lambda descriptor, mode, count: posix_locks.flock(
    descriptor, posix_locks.LOCK_EX | posix_locks.LOCK_NB)
sys.modules["msvcrt"] = windows
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog"):
    sys.modules[name] = None
KEPT_O = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_APPEND", "O_CREAT", "O_EXCL", "O_TRUNC"}
POSIX_OS = {
    "WNOHANG", "chown", "chroot", "confstr", "ctermid", "fchdir", "fchmod", "fchown", "fdatasync", "fork", "forkpty",
    "fpathconf", "fstatvfs", "getegid", "geteuid", "getgid", "getgroups", "getloadavg", "getpgid", "getpgrp",
    "getpriority", "getsid", "getuid", "initgroups", "killpg", "lchown", "lockf", "mkfifo", "mknod", "nice", "openpty",
    "pathconf", "pipe2", "posix_fadvise", "posix_fallocate", "posix_spawn", "pread", "preadv", "pwrite", "pwritev",
    "readv", "register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setegid",
    "seteuid", "setgid", "setpgid", "setpriority", "setsid", "setuid", "statvfs", "sync", "sysconf", "tcgetpgrp",
    "ttyname", "uname", "wait", "wait3", "wait4", "waitid", "writev",
}
for name in [each for each in dir(os) if (each.startswith("O_") and each not in KEPT_O) or each in POSIX_OS]:
    delattr(os, name)
KEPT_SIGNALS = {"SIGABRT", "SIGFPE", "SIGILL", "SIGINT", "SIGSEGV", "SIGTERM", "SIG_DFL", "SIG_IGN", "SIGBREAK"}
POSIX_SIGNAL = {
    "alarm", "getitimer", "pause", "pthread_kill", "pthread_sigmask", "setitimer", "siginterrupt", "sigpending",
    "sigtimedwait", "sigwait", "sigwaitinfo", "ITIMER_REAL",
}
for name in dir(signal):
    if (name.startswith("SIG") and name not in KEPT_SIGNALS) or name in POSIX_SIGNAL:
        delattr(signal, name)
del time.tzset
assert not any(name == "llmtrace" or name.startswith("llmtrace.") for name in sys.modules)
"""

WORK = """
llmtrace.instrument()
with llmtrace.workflow("w"), llmtrace.retrieval("docs"):
    assert ask().choices
    list(ask(stream=True))
    next(iter(ask(stream=True)))
assert llmtrace.flush(20)
"""


def test_store_and_report_work_without_posix(tmp_path: Path, vendor: str) -> None:
    """Import, instrument, call, write the store, flush, report, trace, SIGTERM's chain, uninstrument and exit."""
    code = (
        WITHOUT_POSIX
        + CALLS
        + WORK
        + (
            "from llmtrace.cli import main\n"
            "for command in (['report'], ['trace'], ['store']):\n"
            "    sys.argv = ['llmtrace', *command]\n"
            "    try: main()\n    except SystemExit as end: assert not end.code, (command, end.code)\n"
            "llmtrace.uninstrument()\nllmtrace.instrument()\nask()\n"
        )
    )
    out = run(tmp_path / "program.py", code, environment(vendor, LLMTRACE_STORE=str(tmp_path / "calls.db")))
    assert "gpt-4o-mini" in out


@pytest.mark.parametrize("spooled", [True, False])
def test_spool_is_written_left_and_adopted_without_posix(
    spooled: bool, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """A program whose backend is down leaves its spool; the next one adopts it, and nothing arrives twice."""
    variables = environment(
        vendor,
        OTEL_EXPORTER_OTLP_ENDPOINT=backend.url,
        OTEL_METRICS_EXPORTER="otlp",
        LLMTRACE_SPOOL=str(spool) if spooled else "off",
        LLMTRACE_FLUSH_TIMEOUT="1",
    )
    if spooled:
        backend.mode = 503
        work = WORK.replace("assert llmtrace.flush(20)", "assert not llmtrace.flush(0.5)")
        run(tmp_path / "program.py", WITHOUT_POSIX + CALLS + work, variables)
        backend.mode = "ok"
    run(tmp_path / "program.py", WITHOUT_POSIX + CALLS + WORK, {**variables, "LLMTRACE_FLUSH_TIMEOUT": "20"})
    assert sum(backend.names.values()) == (10 if spooled else 5)


def test_json_lines_are_written_without_posix(tmp_path: Path, vendor: str) -> None:
    """The file of JSON lines, whose lock is another there."""
    path = tmp_path / "calls.jsonl"
    run(tmp_path / "program.py", WITHOUT_POSIX + CALLS + WORK, environment(vendor, LLMTRACE_STORE=str(path)))
    assert len(path.read_text().splitlines()) == 5


def test_sigterm_is_passed_on_without_posix(tmp_path: Path, vendor: str) -> None:
    """There ``signal.raise_signal`` is what sends it, to a handler of the program's or the default."""
    code = (
        WITHOUT_POSIX
        + CALLS
        + (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nllmtrace.instrument()\nask()\n"
            "signal.raise_signal(signal.SIGTERM)\ntime.sleep(60)\n"
        )
    )
    run(tmp_path / "program.py", code, environment(vendor, LLMTRACE_STORE=str(tmp_path / "calls.db")), status=7)
