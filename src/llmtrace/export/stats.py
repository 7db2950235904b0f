"""Counters of the items that this process exported, spooled or lost, with the reason of each loss."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

LOSSES = "losses.jsonl"
"""The file in the spool folder that records losses beyond the life of the process."""

_log = logging.getLogger("llmtrace")
_LOG_INTERVAL_SECONDS = 30.0
"""Minimum seconds between two reports of losses."""
_LOSSES_MAX_BYTES = 64 * 1024
_OPEN_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_REASONS = {
    "queue_full": "spans ended faster than they could be written",
    "spool_full": "the spool reached LLMTRACE_SPOOL_MAX_MB",
    "disk_full": "the disk of the spool is full, or a quota or file size limit is reached",
    "spool_unwritable": "the spool could not be written, and memory is full or the process ended",
    "memory_full": "the memory buffer is full and the backend accepts nothing",
    "refused": "the backend refused them permanently",
    "rejected": "the backend accepted the request and rejected some of its items",
    "too_large": "a single item is larger than the backend accepts",
    "unencodable": "they could not be encoded",
    "corrupt": "their record on disk is damaged",
    "removed": "their file was removed from the spool",
    "store_locked": "another process held the lock of the local store for too long",
    "store_full": "the disk of the local store is full",
    "store_failed": "the local store cannot be written",
    "exporter": "the exporter reported a failure",
    "exit": "the process ended before they could be sent",
    "after_shutdown": "they ended after shutdown()",
    "fault": "an internal error of llmtrace",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """A copy of the counters at one moment."""

    unit: str
    """Plural name of the items: ``spans``, ``data points``, ``log records`` or ``scores``."""
    exported: int
    spooled: int
    dropped: dict[str, int]
    """Drop reason -> number of items."""
    retries: int
    """Number of attempts that failed and are repeated."""


class ExportStats:
    """The counters of one route. Losses are logged once per interval, and recorded in the spool folder, if any."""

    def __init__(self, unit: str = "spans") -> None:
        self.unit = unit
        self.folder: Path | None = None
        self._details: dict[str, str] = {}
        """Drop reason -> last response or error."""
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.RLock()  # reentrant, because a finalizer may end a span on the thread that holds it
        self._exported = self._spooled = self._retries = 0
        self._dropped: Counter[str] = Counter()
        self._unreported: Counter[tuple[str, str]] = Counter()
        self._unflushed = 0
        self._remaining_logged: set[str] = set()
        self._logged_at = float("-inf")

    after_fork = _renew
    """Reset of the counters in a forked child: the parent reports its own."""

    def record_exported(self, items: int) -> None:
        """Count items that the destination accepted."""
        with self._lock:
            self._exported += items

    def record_spooled(self, items: int) -> None:
        """Count items that were written to the spool."""
        with self._lock:
            self._spooled += items

    def record_retry(self) -> None:
        """Count a failed attempt that is repeated."""
        with self._lock:
            self._retries += 1

    def record_dropped(self, reason: str, items: int, detail: str = "") -> None:
        """Count lost items under a key of ``_REASONS``, and log them if the interval allows."""
        if items <= 0:
            return
        with self._lock:
            self._dropped[reason] += items
            self._unreported[self.unit, reason] += items
            self._unflushed += items
            if detail:
                self._details[reason] = detail
        self.log_losses()

    def record_foreign_loss(self, reason: str, items: int, unit: str) -> None:
        """Report items of a dead process that this process dropped, without counting them as its own."""
        with self._lock:
            self._unreported[unit, reason] += items
        self.log_losses()

    def new_losses(self) -> int:
        """Return the number of items lost since the last call."""
        with self._lock:
            lost, self._unflushed = self._unflushed, 0
        return lost

    def counts(self) -> Counts:
        """Return a copy of the counters."""
        with self._lock:
            return Counts(self.unit, self._exported, self._spooled, dict(self._dropped), self._retries)

    def log_remaining(self, action: str, *, on_disk: int = 0, in_memory: int = 0) -> None:
        """Log, once for each ``action``, the number of items that still wait after its timeout."""
        with self._lock:
            if action in self._remaining_logged or not (on_disk or in_memory):
                return
            self._remaining_logged.add(action)
        parts = []
        if on_disk:
            waiting = format_items(on_disk, self.unit)
            parts.append(f"{waiting} kept in {self.folder}, to be sent by this or the next process")
        if in_memory:
            parts.append(f"{format_items(in_memory, self.unit)} kept in memory only, lost if the process ends")
        _log.warning("llmtrace: %s timed out: %s", action, "; ".join(parts))

    def log_losses(self, *, now: bool = False) -> None:
        """Log and record unreported losses, at most once per interval unless ``now`` is set."""
        with self._lock:
            if not self._unreported or (not now and time.monotonic() - self._logged_at < _LOG_INTERVAL_SECONDS):
                return
            self._logged_at = time.monotonic()
            unreported, self._unreported = self._unreported, Counter()
        for (unit, reason), items in unreported.items():
            detail = self._details.get(reason)
            suffix = f"; last response: {detail}" if detail and reason == "refused" else f": {detail}" if detail else ""
            lost = format_items(items, unit)
            _log.warning("llmtrace lost %s: %s (%s)%s", lost, _REASONS.get(reason, reason), reason, suffix)
        if self.folder is not None:
            _append_losses(self.folder, unreported)


def format_items(items: int, unit: str) -> str:
    """Return a number of items with the name of its unit: ``1 span``, ``2 spans``."""
    return f"{items} {unit.removesuffix('s') if items == 1 else unit}"


def _append_losses(folder: Path, losses: Counter[tuple[str, str]]) -> None:
    now_seconds, pid = time.time(), os.getpid()
    lines = "".join(
        json.dumps({"time": round(now_seconds, 3), "pid": pid, "reason": reason, "unit": unit, "items": items}) + "\n"
        for (unit, reason), items in losses.items()
    )
    path = folder / LOSSES
    with suppress(OSError):  # the loss reported here may be a full disk
        if path.exists() and path.stat().st_size > _LOSSES_MAX_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _OPEN_FLAGS, 0o600)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def read_losses(folder: Path, unit: str = "spans") -> Counter[str]:
    """Return the number of lost items by reason, as recorded by the processes that used ``folder``."""
    losses: Counter[str] = Counter()
    for path in (folder / LOSSES, (folder / LOSSES).with_suffix(".1.jsonl")):
        lines: list[str] = []
        with suppress(OSError):
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        for line in lines:
            with suppress(ValueError, TypeError, KeyError, OverflowError):  # cut off by a crash, or not ours
                entry = json.loads(line)
                if entry["unit"] == unit:
                    losses[str(entry["reason"])] += int(entry["items"])
    return losses
