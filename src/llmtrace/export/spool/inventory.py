"""Inventory of a spool folder, and the operations that drain or purge it."""

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

UNITS = (*(signal.unit for signal in SIGNALS), "scores")
"""Plural names of all items that a spool may hold."""


@dataclass(frozen=True, slots=True)
class SpoolEntry:
    """The spool directory of one process."""

    path: Path
    destination: Destination | None
    """The destination in its segments, or ``None`` if none can be read."""
    requests: int
    items: int
    unit: str
    """Plural name of the items: spans, data points, log records or scores."""
    size: int
    """Bytes on disk."""
    since: float
    """Time of creation, in seconds since 1970."""
    held: bool
    """True if a living process holds it and sends its requests."""


def survey(folder: Path) -> list[SpoolEntry]:
    """Return all directories of the folder, oldest first, without changing them."""
    return [_inspect(directory) for directory in directories_in(folder)]


def _inspect(directory: Path) -> SpoolEntry:
    claim = LockedDirectory.claim(directory)
    if claim is not None:
        claim.forget()
    requests = items = size = 0
    destination = None
    for path in sorted(directory.glob("*.seg")):
        with suppress(OSError):  # its owner may remove it at any moment
            destination = destination or describe(path)
            segment, records = Segment.read(path)
            requests, items, size = requests + len(records), items + segment.items, size + segment.size
    return SpoolEntry(
        directory, destination, requests, items, unit_of(directory), size, _created_at(directory), held=claim is None
    )


def _created_at(directory: Path) -> float:
    with suppress(ValueError, IndexError):
        return int(directory.name.split("-")[2]) / 1e9
    return 0.0


def drain(folder: Path, transport: Transport, max_bytes: int, timeout: float) -> ExportStats:
    """Send the requests of dead processes for this destination, for ``timeout`` seconds or until the backend fails."""
    stats = ExportStats(transport.unit)
    buffer: Buffer = SpoolBuffer(folder, transport.destination, max_bytes, stats)
    Sender(buffer, transport, stats, adopt_all=True).close(time.monotonic() + timeout)
    return stats


def purge(folder: Path) -> Counter[str]:
    """Delete the requests of dead processes for all destinations. Return the number of deleted items by unit."""
    removed: Counter[str] = Counter()
    for directory in directories_in(folder):
        claim = LockedDirectory.claim(directory)
        if claim is None:
            continue
        with suppress(OSError):
            for path in claim.segments():
                segment, _ = Segment.read(path)
                segment.remove()
                removed[unit_of(directory)] += segment.items
        claim.release()
    return removed
