"""``llmtrace run``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from .. import _settings
from .._settings.environment import variable, variables

_SITE = Path(__file__).resolve().parents[1] / "_site"
"""Folder with a ``sitecustomize`` module, which Python imports on start if the folder is on its path."""


_HELP = """
Run a program, unchanged, with every call traced.

\b
llmtrace run app.py --port 80
llmtrace run -m package.module
llmtrace run -- gunicorn app:wsgi      any command that starts Python
"""


@click.command("run", help=_HELP, add_help_option=False,
               context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})  # fmt: skip
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
@click.pass_context
def command(ctx: click.Context, /, arguments: tuple[str, ...]) -> int:
    """Replace this process with the program, or return its exit status on Windows."""
    # Options after the first argument belong to the program, -m and --help too.
    if arguments[:1] in (("-h",), ("--help",)):
        click.echo(ctx.get_help())
        return 0
    if not arguments or arguments == ("-m",):
        raise click.UsageError("Missing the program to run.")
    _settings.load({})  # report an invalid setting here, before the program starts
    line = _line(arguments)
    path = [str(_SITE), *filter(None, variable("PYTHONPATH").split(os.pathsep))]
    environment = {**variables(), "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
    if sys.platform == "win32":  # pragma: no cover - exec does not wait on Windows
        return subprocess.run(line, env=environment, check=False).returncode
    sys.stdout.flush()
    os.execve(line[0], line, environment)


def _line(arguments: tuple[str, ...]) -> list[str]:
    if arguments[0] == "-m":
        return [sys.executable, *arguments]
    program = arguments[0]
    if program.endswith((".py", ".pyz")) or Path(program, "__main__.py").is_file():
        if not Path(program).exists():
            raise click.ClickException(f"{program} does not exist")
        return [sys.executable, *arguments]
    path = shutil.which(program)
    if path is None:
        raise click.ClickException(f"command {program} was not found; the name of a Python file must end in .py")
    return [path, *arguments[1:]]
