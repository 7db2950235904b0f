"""The checks of the project, one session each. ``nox -l`` lists them."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
import tomllib
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "layers", "tests"]
nox.options.reuse_existing_virtualenvs = True

FRAMEWORKS: dict[str, list[str]] = {}
"""Names of frameworks that can be installed together, by group. Those without a bridge are among the companions."""
for _name, _row in tomllib.loads(Path("docs", "frameworks.toml").read_text(encoding="utf-8")).items():
    for _group in _row.get("sessions", ()):
        FRAMEWORKS.setdefault(_group, []).append(_name)
COMPANIONS = {
    "oldest": (
        "langchain==1.0.0",
        "langgraph-prebuilt<1.0.9",
        "langchain-openai==1.1.9",
        "openai==2.9.0",
        "agent-framework-openai<2",
    ),
    "oldest_stores": ("milvus-lite>=3,<4", "mcp==2.0.0"),
    "stores": ("milvus-lite<4",),
    "other": ("google-adk>=2.13,<3", "mcp>=2,<3", "pydantic-ai-slim[openai]<3"),
    "own_spans": ("agent-framework-openai<2", "mcp>=2,<3", "strands-agents[openai]<2"),
}
"""What else the tests of a group use."""

OTHERS = tomllib.loads(Path("tests", "others", "matrix.toml").read_text(encoding="utf-8"))["packages"]
"""Other instrumentation, each with an environment of its own: some require older SDKs, or replace parts of them."""

# More workers than most machines have cores: many tests wait for a process that they started.
ALL = ("--exhaustive", "-n", "4", "--dist", "worksteal")


@nox.session
def lint(session: nox.Session) -> None:
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("mypy")
    session.run("pyright", "--verifytypes", "llmtrace", "--ignoreexternal")


@nox.session
def layers(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("lint-imports")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("pytest", *ALL, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Run the tests with line and branch coverage, also in their subprocesses."""
    session.install("-e", ".[dev]")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *ALL, *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation in the folder ``site``."""
    session.install("-e", ".[docs]")
    session.run("mkdocs", "build", "--strict", *session.posargs)


@nox.session
@nox.parametrize("release", ["oldest", "newest"], ids=["oldest", "newest"])
def vendors(session: nox.Session, release: str) -> None:
    """Run the tests with the oldest or the newest supported vendor SDKs."""
    session.install("-e", ".[dev]")
    session.install("--upgrade", *_releases(session, release))
    if release == "oldest":
        # The oldest of Fireworks requires a Pydantic that cannot serialise events of the oldest of Anthropic.
        session.install("pydantic>=2.14")
        # SDKs that these frameworks do not work with
        packages = ("haystack-ai", "langchain-openai", "openai-agents", "pydantic-ai-slim", "smolagents")
        session.run("pip", "uninstall", "-y", *packages)
    session.run("pytest", *ALL, *session.posargs)


@nox.session
def litellm(session: nox.Session) -> None:
    """Run the tests of LiteLLM with its oldest release, which requires newer SDKs than the oldest."""
    session.install("-e", ".[test]")
    session.install(*_releases(session, "oldest", "litellm"))
    session.run("pytest", "tests/providers/litellm_client", *session.posargs)


@nox.session
@nox.parametrize("group", list(FRAMEWORKS), ids=list(FRAMEWORKS))
def frameworks(session: nox.Session, group: str) -> None:
    """Run the tests and examples of frameworks that require other SDKs than the newest."""
    session.install("-e", ".[test]")
    which = "oldest" if group.startswith("oldest") else "newest"
    session.install("-e", ".[test]", *_releases(session, which, *FRAMEWORKS[group]), *COMPANIONS.get(group, ()))
    examples = "tests/test_examples.py::test_example_of_a_framework_runs_and_prints_its_result"
    session.run("pytest", "tests/integrations", *([examples] if which == "newest" else []), *session.posargs)


@nox.session
@nox.parametrize("package", list(OTHERS), ids=list(OTHERS))
def others(session: nox.Session, package: str) -> None:
    """Run the tests of llmtrace with another package that traces the same calls."""
    clients = ("openai", "anthropic", "google-genai", "langchain-openai<2")
    session.install("-e", ".[cli]", "pytest>=8.3", "pytest-asyncio>=1.0", *clients, *OTHERS[package]["install"])
    session.run("pytest", "--noconftest", "tests/others", "-k", package, *session.posargs)


@nox.session
def crashes(session: nox.Session) -> None:
    """Kill a process under load a hundred times, fifty with the backend up and fifty with it down."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/export/test_crashes.py", *session.posargs, env={"KILLS": "100"})


@nox.session
def servers(session: nox.Session) -> None:
    """Check that each call is exported once under gunicorn, uvicorn, Celery, uWSGI and multiprocessing pools."""
    session.install("-e", ".[dev]", "uwsgi")
    paths = ("tests/export/test_servers.py", "tests/lifecycle/test_sigterm.py")
    session.run("pytest", *paths, *session.posargs, env={"ROUNDS": "20"})


@nox.session
def soak(session: nox.Session) -> None:
    """Export a million spans, and check that memory does not grow."""
    session.install("-e", ".")
    session.run("python", "benchmarks/soak.py", *session.posargs)


@nox.session(python=["3.11", "3.12", "3.13"])
def package(session: nox.Session) -> None:
    """Run the tests of the source distribution with the wheel that is built from it, and without the folder ``src``."""
    with tempfile.TemporaryDirectory() as temporary:  # outside the checkout, whose files must not help
        folder = Path(temporary).resolve()
        wheel, archive = _build(session, folder / "dist")
        shutil.unpack_archive(archive, folder / "source")
        (source,) = (folder / "source").iterdir()
        shutil.rmtree(source / "src")
        session.install(f"llmtrace-otel[test] @ {wheel.as_uri()}")
        with session.chdir(source):
            session.run("pytest", *(session.posargs or ALL), env={"LLMTRACE_SHARED": str(folder / "none")})


@nox.session
def release(session: nox.Session) -> None:
    """Build what is published in ``dist``, and a list of the components that it requires (SBOM) in ``sbom``."""
    wheel, archive = _build(session, Path("dist"))
    session.install("twine")
    session.run("twine", "check", "--strict", str(wheel), str(archive))
    _describe_components(session, wheel)


@nox.session
def changelog(session: nox.Session) -> None:
    """Move the fragments of changes into the changelog: ``nox -s changelog -- 0.2.0``."""
    session.install("-e", ".[docs,cli]")
    session.run("towncrier", "build", "--yes", "--version", *session.posargs)
    session.run("python", "docs/generate.py")


def _releases(session: nox.Session, *arguments: str) -> list[str]:
    """Return the requirements of client libraries or frameworks that ``.ci/releases.py`` prints."""
    return str(session.run("python", ".ci/releases.py", *arguments, silent=True)).split()


def _build(session: nox.Session, folder: Path) -> tuple[Path, Path]:
    """Build the source distribution, and the wheel from it. Return the paths of the wheel and of the archive."""
    shutil.rmtree(folder, ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "--outdir", str(folder))
    (wheel,), (archive,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, archive


def _describe_components(session: nox.Session, wheel: Path) -> None:
    """Write the components of an environment that has the wheel, and nothing else, in the format of CycloneDX."""
    environment = Path(session.create_tmp()).resolve() / "environment"
    session.run("python", "-m", "venv", "--clear", "--without-pip", str(environment))
    python = str(environment / ("Scripts" if os.name == "nt" else "bin") / "python")
    session.install("cyclonedx-bom>=7")
    session.run("python", "-m", "pip", "--python", python, "install", "-q", str(wheel))
    name, version = wheel.name.split("-")[:2]
    file = Path("sbom", f"{name}-{version}.cdx.json")
    file.parent.mkdir(exist_ok=True)
    options = ["--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible"]
    session.run("cyclonedx-py", "environment", *options, "--output-file", str(file), python)
    components = json.loads(file.read_text(encoding="utf-8"))
    # The version is the Git tag, which pyproject.toml does not have.
    components["metadata"]["component"]["version"] = version
    file.write_text(json.dumps(components, indent=2) + "\n", encoding="utf-8")


BACKENDS = {"PHOENIX": ("arize-phoenix", "phoenix"), "MLFLOW": ("mlflow", "mlflow")}
BACKENDS["DDAPM"] = ("ddapm-test-agent", "ddapm-test-agent")
GO_BACKENDS = {"COLLECTOR": ("collector", "."), "JAEGER": ("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger")}
"""Go modules in ``tests/backends`` and the package of each to build. Both share most of their dependencies."""


@nox.session(venv_backend="uv|virtualenv")
def backends(session: nox.Session) -> None:
    """Send a complete trace to real backends, and read it back through their own interfaces.

    With uv on the path this takes two minutes, mostly to unpack the dependencies of the backends; with pip alone four.
    Jaeger and the OpenTelemetry Collector are built once, in ``~/.cache/llmtrace-backends``, which takes longer.
    ``LLMTRACE_BUILD_BACKENDS=0`` uses them only if they have been built before, and ``LLMTRACE_BUILD_MINUTES`` limits
    the time: what is not ready then is skipped, and the next run continues. Prometheus is used where it is installed.
    """
    session.install("-e", ".[dev]")
    commands = {f"{name}_COMMAND": _backend(session, package, command) for name, (package, command) in BACKENDS.items()}
    deadline = time.monotonic() + 60 * float(os.environ.get("LLMTRACE_BUILD_MINUTES", "60"))
    for name, (module, package) in GO_BACKENDS.items():
        commands[f"{name}_COMMAND"] = _go_backend(session, module, package, deadline)
    session.run("pytest", "tests/backends", *session.posargs, env=commands)


def _backend(session: nox.Session, package: str, command: str) -> str:
    """Return the command of a backend in its own environment, so that its dependencies do not mix with ours."""
    folder = session.cache_dir / f"backend-{command}"
    if not (folder / "bin" / command).exists():
        python = str(folder / "bin" / "python")
        try:
            if session.venv_backend == "uv":
                session.run("uv", "venv", "-q", "--clear", str(folder), external=True)
                # Without this the first start compiles every module, on one core.
                install = ["uv", "pip", "install", "--python", python, "--compile-bytecode"]
            else:
                session.run("python", "-m", "venv", "--clear", str(folder))
                install = [python, "-m", "pip", "install"]
            session.run(*install, "-q", package, external=True)
        except nox.command.CommandFailed:
            session.error(f"{package} could not be installed: is a package index within reach?")
    return str(folder / "bin" / command)


def _go_backend(session: nox.Session, module: str, package: str, deadline: float) -> str:
    """Return the command of a backend built from Go modules, from the user's cache; empty if it is not to be had."""
    source = Path("tests", "backends", module)
    sources = sorted(path for path in source.iterdir() if path.suffix in (".mod", ".go"))
    version = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "llmtrace-backends" / f"{module}-{version}"
    command = folder / module
    if command.exists():
        return str(command)
    if os.environ.get("LLMTRACE_BUILD_BACKENDS") == "0":
        session.log(f"{module} has not been built: set LLMTRACE_BUILD_BACKENDS=1 to build it")
        return ""
    go = shutil.which("go", path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/local/go/bin")))
    if go is None:
        session.log(f"{module} is skipped: it cannot be built without Go")
        return ""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sources:
        shutil.copy(path, folder)
    session.log(f"building {module} in {folder}")
    build = [go, "build", "-ldflags", "-s -w", "-o", "built", package]
    environ = {**os.environ, "GOFLAGS": "-mod=mod -p=2 -buildvcs=false"}
    try:
        subprocess.run(build, cwd=folder, env=environ, timeout=max(0.0, deadline - time.monotonic()), check=True)
    except subprocess.TimeoutExpired:
        session.log(f"{module} is skipped: it was not built in time; Go keeps what it has compiled for the next run")
        return ""
    except subprocess.CalledProcessError:
        session.log(f"{module} is skipped: it could not be built; is a Go module proxy within reach?")
        return ""
    (folder / "built").rename(command)
    return str(command)
