"""What a spool folder holds, for people; and how it is emptied by hand."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .buffers import Buffer
from .claim import Claim
from .destination import Destination
from .ledger import Ledger
from .otlp import Transport
from .outbox import Outbox
from .segment import Segment, describe
from .spool import Spool, homes

__all__ = ["Waiting", "drain", "purge", "survey"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """What one process left, or is still adding to."""

    path: Path
    destination: Destination | None
    """``None`` when its files do not say."""
    requests: int
    spans: int
    size: int
    """Bytes on disk."""
    since: float
    """When it began, in seconds since 1970."""
    held: bool
    """A living process has it, and sends it itself."""


def survey(folder: Path) -> list[Waiting]:
    """Everything in the folder, oldest first. Nothing is changed."""
    return [_look(home) for home in homes(folder)]


def _look(home: Path) -> Waiting:
    claim = Claim.take(home)
    if claim is not None:
        claim.forget()
    requests = spans = size = 0
    destination = None
    for path in sorted(home.glob("*.seg")):
        with suppress(OSError):  # its owner may be done with it at any moment
            destination = destination or describe(path)
            segment, records = Segment.read(path)
            requests, spans, size = requests + len(records), spans + segment.spans, size + segment.size
    return Waiting(home, destination, requests, spans, size, _since(home), held=claim is None)


def _since(home: Path) -> float:
    with suppress(ValueError, IndexError):
        return int(home.name.split("-")[2]) / 1e9
    return 0.0


def drain(folder: Path, transport: Transport, max_bytes: int, timeout: float) -> Ledger:
    """Send what dead processes left for this destination, until it is done, the backend fails, or the time is up."""
    ledger = Ledger()
    buffer: Buffer = Spool(folder, transport.destination, max_bytes, ledger)
    buffer.adopt()
    Outbox(buffer, transport, ledger).close(time.monotonic() + timeout)
    return ledger


def purge(folder: Path) -> int:
    """Delete what dead processes left, whatever it is bound for. How many spans that was."""
    spans = 0
    for home in homes(folder):
        claim = Claim.take(home)
        if claim is None:
            continue
        for path in claim.segments():
            with suppress(OSError):
                segment, _ = Segment.read(path)
                segment.remove()
                spans += segment.spans
        claim.release()
    return spans
