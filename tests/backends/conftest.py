"""The backends, each a command of a virtual environment of its own, on free ports."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Backend, Command, command_of, documented, free_port, make_certificate


def _phoenix(command: str, folder: Path) -> Command:
    port = free_port()
    environ = {
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_TELEMETRY_ENABLED": "false",
    }
    return Command([command, "serve"], f"http://127.0.0.1:{port}", "/healthz", environ)


def _mlflow(command: str, folder: Path) -> Command:
    port = free_port()
    line = [command, "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    line += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--default-artifact-root", str(folder)]
    # Its job runners are processes of their own, which nothing here needs.
    return Command(line, f"http://127.0.0.1:{port}", "/health", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})


def _ddapm(command: str, folder: Path) -> Command:
    port, grpc_port = free_port(), free_port()
    line = [command, "--host", "127.0.0.1", "--port", str(free_port()), "--disable-llmobs-data-forwarding"]
    line += ["--otlp-http-port", str(port), "--otlp-grpc-port", str(grpc_port)]
    return Command(line, f"http://127.0.0.1:{port}", "/test/session/traces", {}, grpc_port=grpc_port)


def _jaeger(command: str, folder: Path) -> Command:
    names = ("p4317", "p4318", "p5317", "p5318", "p16685", "p16686")
    ports: dict[str, Any] = {name: free_port() for name in names}
    make_certificate(folder)
    files: dict[str, Any] = {name: folder / name for name in ("server.pem", "server.key")}
    config = documented("jaeger", "jaeger.yaml", **ports, **files)
    (folder / "jaeger.yaml").write_text(config, encoding="utf-8")
    return Command(
        [command, "--config", str(folder / "jaeger.yaml")],
        f"http://127.0.0.1:{ports['p4318']}",
        "/",
        {},
        health_url=f"http://127.0.0.1:{ports['p16686']}",
        grpc_port=ports["p4317"],
        secure_ports=(ports["p5318"], ports["p5317"]),
        certificate=str(folder / "server.pem"),
    )


_COMMANDS: dict[str, Callable[[str, Path], Command]] = {
    "phoenix": _phoenix,
    "mlflow": _mlflow,
    "ddapm": _ddapm,
    "jaeger": _jaeger,
}


@pytest.fixture(scope="session")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Backend]]:
    """Whichever there are, started side by side: each takes long to load."""
    found: dict[str, Backend] = {}
    for name, make in _COMMANDS.items():
        if command := command_of(name):
            found[name] = Backend(make(command, tmp_path_factory.mktemp(name)))
    yield found
    for backend in found.values():
        backend.process.terminate()
    for backend in found.values():
        try:
            backend.process.wait(30)
        except subprocess.TimeoutExpired:
            backend.process.kill()


@pytest.fixture(scope="session")
def running(launched: dict[str, Backend]) -> Callable[[str], Backend]:
    """A backend that answers, or a skip where there is none."""

    def named(name: str) -> Backend:
        if name not in launched:
            pytest.skip(f"no command for {name}; run nox -s backends")
        return launched[name].ready()

    return named
