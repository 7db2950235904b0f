"""Starts a backend of an own virtual environment on a free port."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from urllib.request import urlopen

import pytest
from running import Backend, until


@pytest.fixture(scope="session")
def start() -> Iterator[Callable[..., Backend]]:
    """Starts a command of a backend and waits until it answers."""
    running: list[subprocess.Popen[bytes]] = []

    def started(command: list[str], url: str, health: str, environ: dict[str, str], headers: str = "") -> Backend:
        process = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        running.append(process)

        def answers() -> bool:
            assert process.poll() is None, f"{command[0]} ended"
            with urlopen(url + health, timeout=10) as answer:
                return bool(answer.status == 200)

        assert until(answers), f"{command[0]} does not answer"
        return Backend(url, headers)

    yield started
    for process in running:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
