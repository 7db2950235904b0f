"""Which commands there are. Each is a module of its own, loaded when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click

from .. import __version__
from .._config import ConfigError
from ..report.select import WrongQuestion
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
"""In the order of the help. One whose module is not there is not listed."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in _COMMANDS if find_spec(f"{__package__}.{name}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = import_module(f"{__package__}.{cmd_name}")
        command = getattr(module, "command", None)
        return command if isinstance(command, click.Command) else _plain(cmd_name, module.run)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, _COMMANDS[name]) for name in self.list_commands(ctx)])


def _plain(name: str, work: Callable[..., int]) -> click.Command:
    """A command that reads its arguments itself."""

    @click.pass_context
    def callback(ctx: click.Context, arguments: tuple[str, ...]) -> None:
        ctx.exit(work(list(arguments)))

    return click.Command(
        name,
        callback=callback,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
        help=_COMMANDS[name],
        add_help_option=False,
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, message="llmtrace %(version)s")
def _llmtrace() -> None:
    """Trace LLM calls with OpenTelemetry, and see what they cost."""


def run(arguments: list[str]) -> int:
    """Run one command. What is wrong is said in one line, with what to do."""
    try:
        status: Any = _llmtrace.main(arguments, prog_name="llmtrace", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.UsageError as error:
        place = error.ctx.command_path if error.ctx is not None else "llmtrace"
        return _failed(f"{' '.join(error.format_message().split())} See: {place} --help")
    except click.ClickException as error:
        return _failed(error.format_message())
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.Abort:
        return 130
    except (StoreError, WrongQuestion, ConfigError) as error:
        return _failed(str(error))


def _failed(message: str) -> int:
    print(f"llmtrace: {message}", file=sys.stderr)
    return 2
