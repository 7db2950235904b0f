"""``llmtrace spool``: what waits on disk, sent or thrown away by hand."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click

from .._settings import ConfigError, Settings, load
from ..export.otlp.transport import Transport
from ..export.phoenix import phoenix_transport
from ..export.routes import names, spool_folder, transport
from ..export.signals import SIGNALS
from ..export.spool.inventory import UNITS, SpoolEntry, drain, purge, survey
from ..export.stats import read_losses
from ..report import formatting
from .terminal import Amount, echo, echo_error

__all__ = ["command", "run"]

_ACTIONS = ("status", "drain", "purge")


def run(action: str = "status", *, timeout: float = 60.0) -> int:
    """Say what waits in the spool, send it, or delete it.

    Args:
        action: ``status``, ``drain`` (send what dead processes left) or ``purge`` (delete it).
        timeout: Seconds that ``drain`` may take.

    Returns:
        0 done, 1 something is left that could not be sent, 2 wrong usage or no spool.
    """
    if action not in _ACTIONS:
        return _wrong(f"llmtrace spool: {action!r} is not accepted; use {', '.join(_ACTIONS)}")
    try:
        settings = load({})
    except ConfigError as error:
        return _wrong(f"llmtrace spool: {error}")
    folder = spool_folder(settings)
    if folder is None:
        return _wrong("llmtrace spool: LLMTRACE_SPOOL is off")
    if action == "drain":
        return _drain(folder, settings, timeout)
    if action == "purge":
        echo(f"deleted {_amounts(purge(folder))} from {folder}")
        return 0
    for line in describe(folder, settings):
        echo(line)
    return 0


def _wrong(message: str) -> int:
    echo_error(message)
    return 2


def describe(folder: Path, settings: Settings) -> Iterator[str]:
    """What waits in the folder, for which destination, since when; and what was lost."""
    found = survey(folder)
    waiting: Counter[str] = Counter()
    for each in found:
        waiting[each.unit] += each.items
    size = sum(each.size for each in found) / 1e6
    yield f"{folder}  {size:.1f} of {settings.spool_max_mb} MB  {_amounts(waiting)} wait"
    for each in found:
        if each.items or each.held:
            yield f"  {_line(each)}"
    for unit in UNITS:
        for reason, items in sorted(read_losses(folder, unit).items()):
            yield f"  lost: {items} {_unit(items, unit)} ({reason})"


def _amounts(found: Counter[str]) -> str:
    return ", ".join(f"{items} {_unit(items, unit)}" for unit, items in found.items() if items) or "0 spans"


def _unit(items: int, unit: str) -> str:
    return unit.removesuffix("s") if items == 1 else unit


def _line(each: SpoolEntry) -> str:
    where = "unknown" if each.destination is None else each.destination.endpoint
    who = "held by a running process" if each.held else "left behind"
    requests = formatting.counted(each.requests, "request")
    return f"{each.items:>8} {_unit(each.items, each.unit)}  {requests:>15}  {_age(each.since):>6}  {who}  {where}"


def _age(since: float) -> str:
    seconds = max(0.0, time.time() - since)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _drain(folder: Path, settings: Settings, timeout: float) -> int:
    try:
        ways = list(_transports(settings))
        if not ways:
            return _wrong("llmtrace spool: set OTEL_EXPORTER_OTLP_ENDPOINT, and the headers if there are any")
        for way in ways:
            counts = drain(folder, way, settings.spool_max_mb << 20, timeout).counts()
            lost = "".join(f", lost {items} ({why})" for why, items in counts.dropped.items())
            echo(f"sent {counts.exported} {_unit(counts.exported, counts.unit)}{lost}")
    except ConfigError as error:
        return _wrong(f"llmtrace spool: {error}")
    left = [each for each in survey(folder) if each.items and not each.held]
    for each in left:
        echo(f"  left: {_line(each)}")
    return 1 if left else 0


def _transports(settings: Settings) -> Iterator[Transport]:
    """Where the environment of this command sends to."""
    for signal in SIGNALS:
        for name in names(settings, signal):
            if name.startswith("otlp"):
                yield transport(name, signal)
    scores = phoenix_transport()
    if scores is not None:
        yield scores


@click.command("spool")
@click.argument("action", type=click.Choice(_ACTIONS), default="status")
@click.option("--timeout", type=Amount(1e6), default=60.0, help="Seconds that drain may take.")
@click.pass_context
def command(ctx: click.Context, action: str, timeout: float) -> None:
    """What waits on disk: say it, drain it (send what dead processes left), or purge it."""
    ctx.exit(run(action, timeout=timeout))
