"""Every check of the project, under one name each. `nox -l` lists them."""

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "layers", "tests"]
nox.options.reuse_existing_virtualenvs = True

# Both ends of the range in pyproject.toml. openai 1.40.0 passes an argument that httpx 0.28 removed.
VENDORS = {
    "oldest": ["openai==1.40.0", "anthropic[bedrock,vertex]==0.40.0", "httpx<0.28"],
    "latest": ["openai<4", "anthropic[bedrock,vertex]<3"],
}


@nox.session
def lint(session: nox.Session) -> None:
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("lint-imports")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    session.install("-e", ".[dev]")
    session.run("pytest", *session.posargs)


@nox.session
@nox.parametrize("release", list(VENDORS), ids=list(VENDORS))
def vendors(session: nox.Session, release: str) -> None:
    """The tests against one end of the supported range of vendor SDKs."""
    session.install("-e", ".[dev]")
    session.install("--upgrade", *VENDORS[release])
    session.run("pytest", *session.posargs)
