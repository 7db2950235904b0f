"""Registry of the commands. Each command is a module, imported when it is called."""

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
from .._settings.environment import variable
from ..report.select import QueryError
from ..store.schema import StoreError

_COMMANDS = {
    "demo": "generate a day of invented traffic with the real SDKs",
    "run": "run a program, unchanged, with every call traced",
    "report": "show cost and latency by feature, model, user or prompt",
    "compare": "compare two time windows, prompt versions or models",
    "advise": "show where money can be saved",
    "trace": "show one trace as a tree with a waterfall",
    "tail": "print calls as they end",
    "store": "show, send, export or prune the local store",
    "prompts": "list, compare and promote prompts",
    "prices": "show prices of a model, or version and age of the price table",
    "doctor": "check instrumentation, settings and destinations",
    "spool": "show, send or delete the OTLP disk buffer",
}
"""Commands with their one-line help, in display order."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        if cmd_name != "run":  # do not change the environment of the user's program
            # Keep numpy from starting threads for linear algebra: reports only add and sort.
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        command: click.Command = import_module(f"{__package__}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


_MISTAKES = (click.ClickException, sqlite3.Error, StoreError, QueryError, ConfigError)
"""Errors of the user or the environment. Any other error is a bug in llmtrace."""


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, message="llmtrace %(version)s")
def _llmtrace() -> None:
    """Trace LLM calls with OpenTelemetry, and see what they cost."""


def run(arguments: list[str]) -> int:
    """Run one command and return its exit status. Errors are printed as one line with a remedy."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr] # replaces text that the terminal cannot encode
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
    except SystemExit:  # click exits with status 1 only if the reader of a pipe has closed it
        raise BrokenPipeError from None
    except Exception as error:
        if variable("LLMTRACE_STRICT") and not isinstance(error, _MISTAKES):
            raise
        from .terminal import echo_error

        echo_error(f"llmtrace: {_message(error)}")
        return 2


def _message(error: Exception) -> str:
    if isinstance(error, click.UsageError):
        place = error.ctx.command_path if error.ctx is not None else "llmtrace"
        return f"{' '.join(error.format_message().split())} See: {place} --help"
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, sqlite3.Error):  # damaged pages, or locked for too long
        return f"cannot read the store: {error}; try again, or move the file away"
    if isinstance(error, _MISTAKES):
        return str(error)
    return f"internal error: {type(error).__name__}: {error}; set LLMTRACE_STRICT=true for a traceback"
