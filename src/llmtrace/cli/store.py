"""``llmtrace store``."""

from __future__ import annotations

import sqlite3
from datetime import datetime
from pathlib import Path

import click

from .. import _settings
from ..report import formatting
from ..report.select import QueryError, selection
from ..store.read import ALL_TIMES, Window
from .terminal import Amount, echo, echo_error, locate_store, open_store, progress, store_option


@click.group("store", invoke_without_command=True)
@store_option
@click.pass_context
def command(ctx: click.Context, store: str | None) -> None:
    """Show path, size and contents of the local store."""
    ctx.default_map = {name: {"store": store} for name in command.commands}
    if ctx.invoked_subcommand is None:
        _about(store)


def _about(option: str | None) -> None:
    path, _ = locate_store(option)
    with open_store(option) as connection:
        (spans,) = connection.execute("SELECT count(*) FROM spans").fetchone()
        traces, first, last = connection.execute("SELECT count(*), min(started), max(ended) FROM traces").fetchone()
        (calls,) = connection.execute("SELECT count(*) FROM calls").fetchone()
    size = sum(file.stat().st_size for file in (path, Path(f"{path}-wal")) if file.exists())
    limits = _settings.load({})
    echo(f"store   {path}")
    echo(f"size    {size / 1e6:,.1f} MB of at most {limits.store_max_mb:,.0f} (LLMTRACE_STORE_MAX_MB)")
    held = ((calls, "call"), (spans, "span"), (traces, "trace"))
    echo(f"holds   {', '.join(formatting.counted(number, noun) for number, noun in held)}")
    if traces:
        echo(f"from    {_when(first)}")
        echo(f"to      {_when(last)}; kept for {limits.store_max_days:g} days (LLMTRACE_STORE_MAX_DAYS)")


def _when(micros: int) -> str:
    return f"{datetime.fromtimestamp(micros / 1e6).astimezone():%Y-%m-%d %H:%M:%S %Z}"


@command.command("send")
@click.option("--endpoint", metavar="URL", help="OTLP endpoint. Default: OTEL_EXPORTER_OTLP_*.")
@click.option("--since", metavar="TIME", help="Only spans that start at this time or later.")
@click.option("--until", metavar="TIME", help="Only spans that start before this time.")
@click.option("--again", is_flag=True, help="Send spans again that were sent before.")
@store_option
def _send(store: str | None, endpoint: str | None, since: str | None, until: str | None, again: bool) -> None:
    """Send spans to a Collector, Phoenix, Jaeger ... by OTLP, each span once."""
    from ..store.send import send
    from .resend import resender

    window = selection(since, until).window
    exporter = resender(_settings.load({}), endpoint)
    address = exporter.address
    try:
        with (
            open_store(store, write=True) as connection,
            progress("Sending", _spans(connection, window)) as on_progress,
        ):
            count = send(
                connection,
                exporter,
                address,
                window,
                again=again,
                on_progress=on_progress,
            )
    finally:
        exporter.shutdown()
    echo(f"sent {formatting.counted(count - exporter.left_out, 'span')} to {address}")
    if exporter.left_out:
        echo(f"not sent: {formatting.counted(exporter.left_out, 'span')} that were rejected or too large")


@command.command("export")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--since", metavar="TIME", help="Only spans that start at this time or later.")
@click.option("--until", metavar="TIME", help="Only spans that start before this time.")
@store_option
def _export(store: str | None, file: Path, since: str | None, until: str | None) -> None:
    """Write FILE.parquet with one row per span, for DuckDB or a data warehouse."""
    if file.suffix != ".parquet":
        raise QueryError(f"{file} is not a valid file name: it must end in .parquet")
    from ..store.parquet import write_parquet

    window = selection(since, until).window
    with (
        open_store(store) as connection,
        progress("Writing", _spans(connection, window)) as on_progress,
    ):
        count = write_parquet(connection, file, window, on_progress=on_progress)
    echo(f"wrote {formatting.counted(count, 'span')} to {file}")


@command.command("prune")
@click.option("--max-mb", type=Amount(1e6), help="Maximum size. Default: LLMTRACE_STORE_MAX_MB.")
@click.option("--max-days", type=Amount(1e6), help="Maximum age. Default: LLMTRACE_STORE_MAX_DAYS.")
@store_option
def _prune(store: str | None, max_mb: float | None, max_days: float | None) -> None:
    """Remove the oldest traces until the store is within its limits."""
    from ..store.prune import prune

    settings = _settings.load({})
    max_mb = settings.store_max_mb if max_mb is None else max_mb
    max_days = settings.store_max_days if max_days is None else max_days
    removed = 0
    with open_store(store, write=True) as connection, progress("Removing traces") as on_progress:
        while count := prune(connection, max_mb=max_mb, max_days=max_days, seconds=1.0):
            removed += count
            on_progress(removed)
    echo(f"removed {formatting.counted(removed, 'trace')}")


@command.command("delete")
@click.option("--user", required=True, metavar="ID", help="The user, as passed to tag(user=...).")
@store_option
def _delete(store: str | None, user: str) -> None:
    """Delete every trace of one user, in this file only."""
    from ..store.prune import delete_user, empty_log

    with open_store(store, write=True) as connection:
        removed = delete_user(connection, user)
        emptied = empty_log(connection)
    echo(f"deleted {formatting.counted(removed, 'trace')}")
    if not emptied:
        echo_error("another program is reading the store, and its log may hold copies: run the command again")


def _spans(connection: sqlite3.Connection, window: Window) -> int | None:
    if window != ALL_TIMES:
        return None
    number: int = connection.execute("SELECT count(*) FROM spans").fetchone()[0]
    return number
