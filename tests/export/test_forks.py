"""Processes that make processes: each span is exported once, by the process in which it ended."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .backend import Backend
from .conftest import PROGRAM, SOURCE

pytestmark = [pytest.mark.exhaustive, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")]

Script = Callable[[str], str]


@pytest.fixture
def script(backend: Backend, tmp_path: Path, spool: Path) -> Script:
    """Runs a program from a file, as the children of multiprocessing need it."""

    def run_script(code: str, **variables: str) -> str:
        path = tmp_path / "program.py"
        path.write_text(PROGRAM + code, encoding="utf-8")
        environ = {
            **os.environ,
            "PYTHONPATH": str(SOURCE),
            "OTEL_EXPORTER_OTLP_ENDPOINT": backend.url,
            "LLMTRACE_SPOOL": str(spool),
            **variables,
        }
        done = subprocess.run(
            [sys.executable, str(path)], env=environ, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    backend.up()
    return run_script


MATRIX = """
import multiprocessing, threading

def child(number):
    for call_number in range(3):
        call(f"child{number}-{call_number}")

if __name__ == "__main__":
    context = multiprocessing.get_context("{method}")
    call("before")  # in the queue when the children are made
    children = [context.Process(target=child, args=(number,)) for number in range(3)]
    for process in children:
        process.start()
    call("after")
    for process in children:
        process.join(10)
    assert [process.exitcode for process in children] == [0, 0, 0]
"""


@pytest.mark.parametrize(
    ("method", "spooled"), [("fork", True), ("fork", False), ("spawn", True), ("forkserver", True)]
)
def test_multiprocessing_children_export_each_span_once(
    method: str, spooled: bool, backend: Backend, script: Script
) -> None:
    """A parent and three children that end without a flush: each span once, whatever the start method."""
    script(MATRIX.replace("{method}", method), **({} if spooled else {"LLMTRACE_SPOOL": "off"}))
    children = {f"child{number}-{call_number}": 1 for number in range(3) for call_number in range(3)}
    assert backend.names == Counter({"before": 1, "after": 1, **children})


def test_children_that_flush_before_os_exit_export_each_span_once(backend: Backend, script: Script) -> None:
    """Children of os.fork that leave by os._exit after flush(): each span once."""
    script(
        "call('before')\n"
        "children = []\n"
        "for number in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        call(f'child{number}')\n"
        "        os._exit(0 if pipeline.flush(10) else 1)\n"
        "    children.append(pid)\n"
        "assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]\n"
    )
    assert backend.names == Counter(["before", "child0", "child1", "child2"])


def test_prefork_workers_with_threads_export_each_span_once(backend: Backend, script: Script) -> None:
    """Workers forked before the first call, that trace on threads of their own and leave by sys.exit."""
    script(
        "import threading\n"
        "children = []\n"
        "for number in range(3):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        threads = [threading.Thread(target=call, args=(f'{number}.{n}',)) for n in range(4)]\n"
        "        [thread.start() for thread in threads]\n"
        "        [thread.join() for thread in threads]\n"
        "        sys.exit(0)\n"
        "    children.append(pid)\n"
        "assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]\n"
    )
    assert backend.names == Counter(f"{number}.{n}" for number in range(3) for n in range(4))


def test_fork_under_load_neither_deadlocks_nor_repeats_spans(backend: Backend, script: Script) -> None:
    """Forking while other threads trace, write and send deadlocks nobody, and each span arrives once."""
    script(
        "import threading\n"
        "stop = False\n"
        "made = [0] * 2\n"
        "def busy(n):\n"
        "    while not stop:\n"
        "        call(f'parent{n}.{made[n]}')\n"
        "        made[n] += 1\n"
        "        time.sleep(0.0002)\n"
        "threads = [threading.Thread(target=busy, args=(n,)) for n in range(2)]\n"
        "[thread.start() for thread in threads]\n"
        "for number in range(10):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        call(f'child{number}')\n"
        "        os._exit(0 if pipeline.flush(10) else 1)\n"
        "    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0\n"
        "stop = True\n"
        "[thread.join() for thread in threads]\n"
        "print(*made)\n",
        OTEL_BSP_SCHEDULE_DELAY="5",
        LLMTRACE_FLUSH_TIMEOUT="10",
    )
    assert {name for name in backend.names if name.startswith("child")} == {f"child{number}" for number in range(10)}
    assert set(backend.names.values()) == {1}
    assert len(backend.names) > 100


def test_pool_workers_export_each_span_once(backend: Backend, script: Script) -> None:
    """Workers of a pool, like those of Celery, that live on after a task and end with the pool: each span once."""
    script(
        "from concurrent.futures import ProcessPoolExecutor\n"
        "import multiprocessing\n"
        "if __name__ == '__main__':\n"
        "    call('parent')\n"
        "    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        "        list(pool.map(call, [f'task{number}' for number in range(20)]))\n"
    )
    assert backend.names == Counter(["parent", *(f"task{number}" for number in range(20))])


def test_child_of_a_dead_parent_does_not_lock_its_spool(backend: Backend, script: Script, spool: Path) -> None:
    """A child that outlives its parent does not keep what the parent left from being sent."""
    backend.down()
    script(
        "call('parent')\npipeline.flush(0.2)\n"
        "if os.fork() == 0:\n"
        "    os.close(1), os.close(2)\n"
        "    time.sleep(8)\n"
        "    os._exit(0)\n"
        "os._exit(0)\n"
    )
    backend.up()
    script("call('restart')\nassert pipeline.flush(10)\n")
    assert backend.names == Counter(["parent", "restart"])


def test_exit_of_a_child_waits_for_its_spans(backend: Backend, tmp_path: Path, spool: Path, replay: Any) -> None:
    """A call's span ends when it can be priced, and the price table takes a second: the end of a child waits for it."""
    path = tmp_path / "program.py"
    path.write_text(
        "import sys, multiprocessing, llmtrace, openai\n"
        "llmtrace.instrument(clients=['openai'])\n"
        "def ask():\n"
        "    with openai.OpenAI(base_url=sys.argv[1], api_key='x', max_retries=0, timeout=20) as client:\n"
        "        client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'hi'}])\n"
        "if __name__ == '__main__':\n"
        "    for generation in range(2):\n"
        "        children = [multiprocessing.get_context('fork').Process(target=ask) for _ in range(2)]\n"
        "        [child.start() for child in children]\n"
        "        [child.join(20) for child in children]\n",
        encoding="utf-8",
    )
    backend.up()
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool), "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, str(path), f"{replay.url}/v1"]
    subprocess.run(command, env={**os.environ, **variables}, timeout=180, check=True)
    assert backend.names == Counter({"chat m": 4})


def test_forked_child_opens_its_own_grpc_channel(tmp_path: Path, spool: Path, grpc_server: Any) -> None:
    """A child forked when the channel of its parent is open, and busy, sends over a channel of its own."""
    url, servicer = grpc_server
    path = tmp_path / "program.py"
    path.write_text(
        PROGRAM + "call('before')\nassert pipeline.flush(20)\n"
        "children = []\n"
        "for number in range(3):\n"
        "    call(f'parent{number}')\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        call(f'child{number}')\n"
        "        os._exit(0 if pipeline.flush(20) else 1)\n"
        "    children.append(pid)\n"
        "assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0]\n"
        "call('after')\nassert pipeline.flush(20)\n",
        encoding="utf-8",
    )
    variables = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_BSP_SCHEDULE_DELAY": "5",
        "LLMTRACE_SPOOL": str(spool),
        "PYTHONPATH": str(SOURCE),
    }
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names = ["before", "after", *(f"{who}{number}" for who in ("parent", "child") for number in range(3))]
    assert Counter(servicer.names) == Counter(names)
