"""``llmtrace spool``: shows, sends or deletes what is buffered on disk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from .._settings import ConfigError, Settings, load
from ..export.otlp.transport import Transport
from ..export.phoenix import phoenix_transport
from ..export.routes import Routes, spool_folder, transport
from ..export.signals import SIGNALS
from ..export.spool.inventory import UNITS, SpoolEntry, drain, purge, survey
from ..export.stats import format_items, read_losses
from ..report import formatting
from .terminal import Amount, echo, usage_error


@click.command(
    "spool", help="Show the disk buffer, drain it (send the data of processes that have ended), or purge it."
)
@click.argument("action", type=click.Choice(["status", "drain", "purge"]), default="status")
@click.option("--timeout", type=Amount(1e6), default=60.0, help="Maximum seconds for drain.")
def command(action: str, timeout: float) -> int:
    """Return 0 if done, 1 if some data could not be sent, 2 for wrong usage or without a spool."""
    try:
        settings = load({})
    except ConfigError as error:
        return usage_error(f"llmtrace spool: {error}")
    folder = spool_folder(settings)
    if folder is None:
        return usage_error("llmtrace spool: LLMTRACE_SPOOL is off")
    if action == "drain":
        return _drain(folder, settings, timeout)
    if action == "purge":
        echo(f"deleted {_amounts(purge(folder))} from {folder}")
        return 0
    for line in describe(folder, settings):
        echo(line)
    return 0


def describe(folder: Path, settings: Settings) -> Iterator[str]:
    """Yield lines about the waiting data by destination and age, and about losses."""
    entries = survey(folder)
    waiting: Counter[str] = Counter()
    for entry in entries:
        waiting[entry.unit] += entry.items
    size = sum(entry.size for entry in entries) / 1e6
    yield f"{folder}  {size:.1f} of {settings.spool_max_mb} MB  {_amounts(waiting)} wait"
    for entry in entries:
        if entry.items or entry.held:
            yield f"  {_line(entry)}"
    for unit in UNITS:
        for reason, items in sorted(read_losses(folder, unit).items()):
            yield f"  lost: {format_items(items, unit)} ({reason})"


def _amounts(counts: Counter[str]) -> str:
    return ", ".join(format_items(items, unit) for unit, items in counts.items() if items) or "0 spans"


def _line(entry: SpoolEntry) -> str:
    endpoint = "unknown" if entry.destination is None else entry.destination.endpoint
    owner = "held by a running process" if entry.held else "left behind"
    requests = formatting.counted(entry.requests, "request")
    unit = entry.unit.removesuffix("s") if entry.items == 1 else entry.unit
    return f"{entry.items:>8} {unit}  {requests:>15}  {_age(entry.since):>6}  {owner}  {endpoint}"


def _age(since: float) -> str:
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _drain(folder: Path, settings: Settings, timeout: float) -> int:
    try:
        transports = list(_transports(settings))
        if not transports:
            return usage_error(
                "llmtrace spool: no endpoint is set: set OTEL_EXPORTER_OTLP_ENDPOINT, and headers if needed"
            )
        for otlp in transports:
            counts = drain(folder, otlp, settings.spool_max_mb << 20, timeout).counts()
            lost = "".join(f", lost {items} ({reason})" for reason, items in counts.dropped.items())
            echo(f"sent {format_items(counts.exported, counts.unit)}{lost}")
    except ConfigError as error:
        return usage_error(f"llmtrace spool: {error}")
    left = [entry for entry in survey(folder) if entry.items and not entry.held]
    for entry in left:
        echo(f"  left: {_line(entry)}")
    return 1 if left else 0


def _transports(settings: Settings) -> Iterator[Transport]:
    """Yield the transports that the environment of this command configures."""
    for signal in SIGNALS:
        for name in Routes(settings).names(signal):
            if name.startswith("otlp"):
                yield transport(name, signal)
    scores = phoenix_transport()
    if scores is not None:
        yield scores
