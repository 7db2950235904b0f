"""What the commands share: the terminal, the store, and the options that choose calls."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import get_terminal_size
from typing import Any

import click
from rich.console import Console

from ..store.schema import StoreError, connect, demo_path, locate

__all__ = ["choosing", "console", "opened", "store_option", "store_path", "working"]

Decorated = Callable[..., Any]


def console(*, stderr: bool = False) -> Console:
    """Colours in a terminal only, ``NO_COLOR`` heeded, 80 columns in a pipe; brackets in names are no markup."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else get_terminal_size().columns
    return Console(stderr=stderr, highlight=False, soft_wrap=False, width=width, emoji=False, markup=False)


def store_path(given: str | None) -> Path:
    told = given or os.environ.get("LLMTRACE_STORE", "").strip()
    if told.lower() == "off":
        raise StoreError("the store is off (LLMTRACE_STORE); name one with --store FILE")
    return demo_path() if told == "demo" else locate(told)


@contextmanager
def opened(given: str | None) -> Iterator[sqlite3.Connection]:
    """The store, to read from."""
    with closing(connect(store_path(given))) as store:
        yield store


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say on the terminal that something is going on."""
    shown = console(stderr=True)
    if not shown.is_terminal:
        yield
        return
    with shown.status(f"{what} ..."):
        yield


def store_option(command: Decorated) -> Decorated:
    return click.option("--store", metavar="FILE", help="The store, or demo. Default: LLMTRACE_STORE.")(command)


def choosing(command: Decorated) -> Decorated:
    """``--since``, ``--until``, ``--where`` and ``--store``."""
    for option in (
        click.option("--where", multiple=True, metavar="NAME=VALUE", help="Only such calls; != and * work."),
        click.option("--until", metavar="TIME", help="Up to then; the same forms."),
        click.option("--since", metavar="TIME", help="From then on: 24h, 7d, today, 2026-01-31 ..."),
    ):
        command = option(command)
    return store_option(command)
