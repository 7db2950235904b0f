"""Which commands there are. Each is a module of its own, loaded when it is called."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from .. import __version__
from .._settings import ConfigError
from ..report.select import QueryError
from ..store.schema import StoreError

__all__ = ["run"]

_COMMANDS = {
    "demo": "a day of invented traffic through the real SDKs",
    "run": "run a program, unchanged, with every call traced",
    "report": "what each feature, model, user or prompt costs",
    "compare": "two windows, prompt versions or models side by side",
    "advise": "where money can be saved",
    "trace": "one trace as a tree with a waterfall",
    "tail": "calls as they end, live",
    "store": "the local store: send it on, export it, prune it",
    "prompts": "the prompts of the prompt folder",
    "prices": "version and age of the price table, and overrides",
    "doctor": "is everything hooked, and does it arrive?",
    "spool": "the disk buffer in front of OTLP",
}
"""In the order of the help."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name != "run":  # its program is not ours to configure
            # Reports add and sort; numpy need not start a pool of threads for linear algebra.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        command: click.Command = import_module(f"{__package__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


_MISTAKES = (click.ClickException, sqlite3.Error, StoreError, QueryError, ConfigError)
"""Of the user, or of the machine; any other error is a fault of ours."""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, message="llmtrace %(version)s")
def _llmtrace() -> None:
    """Trace LLM calls with OpenTelemetry, and see what they cost."""


def run(arguments: list[str]) -> int:
    """Run one command. What is wrong is said in one line, with what to do."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # of text that the terminal cannot show
    try:
        status: Any = _llmtrace.main(arguments, prog_name="llmtrace", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except BrokenPipeError:
        raise
    except SystemExit:  # click ends so, with status 1, where the reader of a pipe has gone, and nowhere else here
        raise BrokenPipeError from None
    except Exception as error:
        if os.environ.get("LLMTRACE_STRICT") and not isinstance(error, _MISTAKES):
            raise
        return _failed(_message(error))


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        place = error.ctx.command_path if error.ctx is not None else "llmtrace"
        return f"{' '.join(error.format_message().split())} See: {place} --help"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, sqlite3.Error):  # damaged further in than its beginning, or busy for long
        return f"cannot read the store: {error}; try again, or move it away"
    if isinstance(error, _MISTAKES):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}; LLMTRACE_STRICT=true shows where"


def _failed(message: str) -> int:
    from .terminal import echo_error

    echo_error(f"llmtrace: {message}")
    return 2
