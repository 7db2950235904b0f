"""Helpers that the commands share: terminal output, access to the store, and common options."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, NoReturn, TextIO

import click
from rich.console import Console

from .._settings.environment import variable
from ..report import formatting
from ..store.schema import StoreError, connect, demo_path, locate

Decorated = Callable[..., Any]
_MAX_LINE_CHARS = 800
_LOCK_TIMEOUT_SECONDS = 5.0


class Amount(click.FloatRange):
    """Parameter type of numbers from 0 to a maximum. ``FloatRange`` alone would accept ``nan``."""

    def __init__(self, maximum: float) -> None:
        super().__init__(0, maximum)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Convert the text of an option to a finite number within the range."""
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # rich would exit with status 1


def console(*, stderr: bool = False) -> Console:
    """Return a console: colours in a terminal only, 80 columns in a pipe, and brackets printed literally."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else get_terminal_size().columns
    return _Console(stderr=stderr, highlight=False, soft_wrap=False, width=width, emoji=False, markup=False)


def echo(line: object = "", *, file: TextIO | None = None) -> None:
    """Print one line without characters that would control the terminal."""
    print(formatting.plain(str(line)), file=file or sys.stdout)


def echo_error(message: object) -> None:
    """Print an error on standard error, as one line of bounded length."""
    line = " ".join(str(message).split())
    if len(line) > _MAX_LINE_CHARS:  # keep the end, which states the remedy: arguments may have any length
        line = f"{line[: _MAX_LINE_CHARS // 2]} … {line[-_MAX_LINE_CHARS // 2 :]}"
    echo(line, file=sys.stderr)


def usage_error(message: str) -> int:
    """Print an error and return the exit status for wrong usage, 2."""
    echo_error(message)
    return 2


def without_credentials(text: str) -> str:
    """Return a URL without user name, password and query. Return other text as it is.

    Everything before the last ``@`` is removed, because a password may contain an unescaped ``/``, ``?`` or ``#``.
    """
    scheme, separator, rest = text.partition("//")
    return scheme + separator + rest.rpartition("@")[2].partition("?")[0] if separator else text


def echo_json(value: object, *, indent: int | None = None) -> None:
    """Print JSON in which all non-ASCII characters are escaped."""
    for line in json.dumps(value, indent=indent).replace("\x7f", "\\u007f").split("\n"):
        echo(line)


def echo_text(text: str) -> None:
    """Print the lines of a text."""
    for line in text.split("\n"):
        echo(line.expandtabs())


def locate_store(option: str | None) -> tuple[Path, str]:
    """Return the path of the store for the value of ``--store``, and the option or variable that names it."""
    configured = variable("LLMTRACE_STORE")
    origin = "--store" if option else "LLMTRACE_STORE" if configured else "the default store"
    setting = option or configured
    if setting.lower() == "off":
        raise StoreError(f"the store is off ({origin}): name a store with --store FILE")
    path = demo_path() if setting == "demo" else locate(setting)
    if path.suffix == ".jsonl":
        raise StoreError(
            f"{path} ({origin}) contains JSON lines, which no command reads: name a SQLite file with --store"
        )
    return path, origin


@contextmanager
def open_store(value: str | None, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """Open an existing store. Errors name the option or variable that its path comes from."""
    path, origin = locate_store(value)
    try:
        connection = connect(path, timeout=_LOCK_TIMEOUT_SECONDS)
        if write:
            connection.close()
            connection = connect(path, write=True, timeout=_LOCK_TIMEOUT_SECONDS)
    except StoreError as error:
        raise StoreError(f"{error} (from {origin})") from error
    with closing(connection) as store:
        yield store


@contextmanager
def progress(activity: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show an activity on the terminal during the block, and the count that the yielded function gets."""
    terminal = console(stderr=True)
    if not terminal.is_terminal:
        yield lambda count: None
        return
    with terminal.status(f"{activity} ...") as status:
        of = "" if total is None else f" of {formatting.count(total)}"
        yield lambda count: status.update(f"{activity} {formatting.count(count)}{of}")


store_option: Callable[[Decorated], Decorated] = click.option(
    "--store", metavar="FILE", help="Path of the store, or demo. Default: LLMTRACE_STORE."
)
"""Decorator that adds ``--store`` to a command."""


def selection_options(command: Decorated) -> Decorated:
    """Add ``--since``, ``--until``, ``--where`` and ``--store`` to a command."""
    for option in (
        click.option(
            "--where", multiple=True, metavar="NAME=VALUE", help="Only matching calls; != and * are supported."
        ),
        click.option("--until", metavar="TIME", help="End of the time window, exclusive."),
        click.option("--since", metavar="TIME", help="Start of the time window: 24h, 7d, today, 2026-01-31 ..."),
    ):
        command = option(command)
    return store_option(command)
