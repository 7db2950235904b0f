"""What a spool folder holds, for people; and how it is emptied by hand."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..otlp.buffers import Buffer
from ..otlp.destination import Destination
from ..otlp.sender import Sender
from ..otlp.transport import Transport
from ..signals import SIGNALS
from ..stats import ExportStats
from .buffer import SpoolBuffer, directories_in, unit_of
from .directory import LockedDirectory
from .segment import Segment, describe

__all__ = ["UNITS", "SpoolEntry", "drain", "purge", "survey"]

UNITS = (*(signal.unit for signal in SIGNALS), "scores")
"""All that may be waiting."""


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """What one process left, or is still adding to."""

    path: Path
    destination: Destination | None
    """``None`` when its files do not say."""
    requests: int
    items: int
    unit: str
    """What they are: spans, data points, log records or scores."""
    size: int
    """Bytes on disk."""
    since: float
    """When it began, in seconds since 1970."""
    held: bool
    """A living process has it, and sends it itself."""


def survey(folder: Path) -> list[SpoolEntry]:
    """Everything in the folder, oldest first. Nothing is changed."""
    return [_look(home) for home in directories_in(folder)]


def _look(home: Path) -> SpoolEntry:
    claim = LockedDirectory.claim(home)
    if claim is not None:
        claim.forget()
    requests = items = size = 0
    destination = None
    for path in sorted(home.glob("*.seg")):
        with suppress(OSError):  # its owner may be done with it at any moment
            destination = destination or describe(path)
            segment, records = Segment.read(path)
            requests, items, size = requests + len(records), items + segment.items, size + segment.size
    return SpoolEntry(home, destination, requests, items, unit_of(home), size, _since(home), held=claim is None)


def _since(home: Path) -> float:
    with suppress(ValueError, IndexError):
        return int(home.name.split("-")[2]) / 1e9
    return 0.0


def drain(folder: Path, transport: Transport, max_bytes: int, timeout: float) -> ExportStats:
    """Send what dead processes left for this destination, until it is done, the backend fails, or the time is up."""
    ledger = ExportStats(transport.unit)
    buffer: Buffer = SpoolBuffer(folder, transport.destination, max_bytes, ledger)
    Sender(buffer, transport, ledger, adopt_all=True).close(time.monotonic() + timeout)
    return ledger


def purge(folder: Path) -> Counter[str]:
    """Delete what dead processes left, whatever it is bound for. How much that was, by what it is."""
    found: Counter[str] = Counter()
    for home in directories_in(folder):
        claim = LockedDirectory.claim(home)
        if claim is None:
            continue
        with suppress(OSError):
            for path in claim.segments():
                segment, _ = Segment.read(path)
                segment.remove()
                found[unit_of(home)] += segment.items
        claim.release()
    return found
