"""What the commands share: the terminal, the store, and the options that choose calls."""

from __future__ import annotations

import json
import math
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any, NoReturn, TextIO

import click
from rich.console import Console

from ..report import formatting
from ..store.schema import StoreError, connect, demo_path, locate

__all__ = [
    "Amount",
    "console",
    "echo",
    "echo_error",
    "echo_json",
    "echo_text",
    "open_store",
    "progress",
    "selection_options",
    "store_option",
    "store_path",
]

Decorated = Callable[..., Any]
_LONGEST_LINE = 800
_LOCK_TIMEOUT_SECONDS = 5.0


class Amount(click.FloatRange):
    """A number from 0 to a maximum, finite: ``FloatRange`` accepts ``nan``."""

    def __init__(self, maximum: float) -> None:
        super().__init__(0, maximum)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value} is not a number.", param, ctx)
        return number


class _Console(Console):
    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError  # rich would exit with status 1


def console(*, stderr: bool = False) -> Console:
    """Colours in a terminal only, ``NO_COLOR`` heeded, 80 columns in a pipe; brackets in names are no markup."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else get_terminal_size().columns
    return _Console(stderr=stderr, highlight=False, soft_wrap=False, width=width, emoji=False, markup=False)


def echo(line: object = "", *, file: TextIO | None = None) -> None:
    """Print one line, without what would steer the terminal."""
    print(formatting.plain(str(line)), file=file or sys.stdout)


def echo_error(message: object) -> None:
    """Print what is wrong, in one line of bounded length, on standard error."""
    line = " ".join(str(message).split())
    if len(line) > _LONGEST_LINE:  # an argument may have any length; what to do is said last
        line = f"{line[: _LONGEST_LINE // 2]} … {line[-_LONGEST_LINE // 2 :]}"
    echo(line, file=sys.stderr)


def echo_json(value: object, *, indent: int | None = None) -> None:
    """Print JSON in which every character that is not plain ASCII is escaped."""
    for line in json.dumps(value, indent=indent).replace("\x7f", "\\u007f").split("\n"):
        echo(line)


def echo_text(text: str) -> None:
    """Print the lines of a text."""
    for line in text.split("\n"):
        echo(line.expandtabs())


def store_path(value: str | None) -> Path:
    return _located(value)[0]


def _located(given: str | None) -> tuple[Path, str]:
    """Return the store's path, and which option or variable names it."""
    variable = os.environ.get("LLMTRACE_STORE", "").strip()
    origin = "--store" if given else "LLMTRACE_STORE" if variable else "the default store"
    told = given or variable
    if told.lower() == "off":
        raise StoreError(f"the store is off ({origin}); name one with --store FILE")
    path = demo_path() if told == "demo" else locate(told)
    if path.suffix == ".jsonl":
        raise StoreError(f"{path} ({origin}) holds JSON lines, which no command reads; name a SQLite file with --store")
    return path, origin


@contextmanager
def open_store(value: str | None, *, write: bool = False) -> Iterator[sqlite3.Connection]:
    """The store, which must be there. An error names the option or variable that the path comes from."""
    path, origin = _located(value)
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
def progress(what: str) -> Iterator[None]:
    """Say on the terminal that something is going on."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield
        return
    with shown.status(f"{what} ..."):
        yield


def store_option(command: Decorated) -> Decorated:
    return click.option("--store", metavar="FILE", help="The store, or demo. Default: LLMTRACE_STORE.")(command)


def selection_options(command: Decorated) -> Decorated:
    """``--since``, ``--until``, ``--where`` and ``--store``."""
    for option in (
        click.option("--where", multiple=True, metavar="NAME=VALUE", help="Only such calls; != and * work."),
        click.option("--until", metavar="TIME", help="Up to then; the same forms."),
        click.option("--since", metavar="TIME", help="From then on: 24h, 7d, today, 2026-01-31 ..."),
    ):
        command = option(command)
    return store_option(command)
