"""Spools as dead processes leave them."""

from __future__ import annotations

from pathlib import Path

from llmtrace.export.otlp.buffers import Buffer
from llmtrace.export.otlp.destination import Destination
from llmtrace.export.otlp.payload import Payload
from llmtrace.export.spool.buffer import SpoolBuffer
from llmtrace.export.stats import ExportStats

HERE = Destination("traces", "http", "http://a/v1/traces", "0")


def new_spool(folder: Path) -> tuple[SpoolBuffer, ExportStats]:
    stats = ExportStats()
    return SpoolBuffer(folder, HERE, 64 << 20, stats), stats


def payload(name: str, items: int = 1) -> Payload:
    return Payload(name.encode(), "none", items)


def write_dead(folder: Path, *payloads: Payload) -> Path:
    """Write a segment as a process that has died leaves it."""
    spool, _ = new_spool(folder)
    for each in payloads:
        assert spool.put(each)
    (home,) = {directory.path for directory in spool._directories}
    spool.close()
    (path,) = home.glob("*.seg")
    return path


def send_all(spool: Buffer) -> list[bytes]:
    """Take every request as a sender does, in the order in which they go."""
    bodies = []
    while (entry := spool.first()) is not None:
        request = entry.load()
        assert request is not None
        bodies.append(request.body)
        spool.done(entry)
    return bodies


def adopt_all(folder: Path) -> tuple[list[str], dict[str, int]]:
    """Adopt everything; the requests that come, and the losses."""
    spool, stats = new_spool(folder)
    bodies: list[str] = []
    while spool.adopt():
        while (entry := spool.first()) is not None:
            loaded = entry.load()
            bodies.append(loaded.body.decode() if loaded is not None else "damaged")
            spool.done(entry)
    spool.close()
    return bodies, stats.counts().dropped
