"""``llmtrace run``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click

from .. import _settings

__all__ = ["command"]

_SITE = Path(__file__).resolve().parents[1] / "_site"
"""Holds a ``sitecustomize``, which every Python that finds the folder on its path imports when it starts."""


@click.command("run", add_help_option=False,
               context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})  # fmt: skip
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="PROGRAM [ARGS]...")
@click.pass_context
def command(ctx: click.Context, /, arguments: tuple[str, ...]) -> int:
    """Run a program, unchanged, with every call traced.

    \b
    llmtrace run app.py --port 80
    llmtrace run -m package.module
    llmtrace run -- gunicorn app:wsgi      any command that starts Python
    """
    # All options but the first are the program's, -m and --help too.
    if arguments[:1] in (("-h",), ("--help",)):
        click.echo(ctx.get_help())
        return 0
    if not arguments or arguments == ("-m",):
        raise click.UsageError("Missing the program to run.")
    _settings.load({})  # a wrong setting is told now, and not by the program's own start
    line = _line(arguments)
    path = [str(_SITE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
    if sys.platform == "win32":  # pragma: no cover - has no exec that waits
        return subprocess.run(line, env=environment, check=False).returncode
    sys.stdout.flush()
    os.execve(line[0], line, environment)


def _line(arguments: tuple[str, ...]) -> list[str]:
    if arguments[0] == "-m":
        return [sys.executable, *arguments]
    program = arguments[0]
    if program.endswith((".py", ".pyz")) or Path(program, "__main__.py").is_file():
        if not Path(program).exists():
            raise click.ClickException(f"there is no file {program}")
        return [sys.executable, *arguments]
    found = shutil.which(program)
    if found is None:
        raise click.ClickException(f"there is no command {program}; a Python file must end in .py")
    return [found, *arguments[1:]]
