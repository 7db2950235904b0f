"""What became of the spans, data points and log records of this process: exported, buffered, or lost and why."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["LOSSES", "Counts", "ExportStats", "read_losses"]

LOSSES = "losses.jsonl"
"""The file in the spool folder that remembers losses after the process is gone."""

_log = logging.getLogger("llmtrace")
_INTERVAL = 30.0
_LOSSES_MAX_BYTES = 64 * 1024
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)

_REASONS = {
    "queue_full": "spans ended faster than they could be written",
    "spool_full": "the spool reached LLMTRACE_SPOOL_MAX_MB",
    "disk_full": "the disk of the spool is full, or a quota or the limit of file sizes is reached",
    "spool_unwritable": "the spool could not be written, and memory holds no more or ended with the process",
    "memory_full": "the memory buffer is full and the backend takes nothing",
    "refused": "the backend refused them for good",
    "rejected": "the backend took the request and rejected some of its spans",
    "too_large": "one span alone is larger than the backend takes",
    "unencodable": "they could not be encoded",
    "corrupt": "their record on disk is damaged",
    "removed": "their file was removed from the spool",
    "store_locked": "another process has held the lock of the local store all the time",
    "store_full": "the disk of the local store is full",
    "store_failed": "the local store cannot be written",
    "exporter": "the exporter reported a failure",
    "exit": "the process ended before they could be sent",
    "after_shutdown": "they ended after shutdown()",
    "fault": "a fault in llmtrace",
}


@dataclass(frozen=True, slots=True)
class Counts:
    """A copy of the counters at one moment."""

    unit: str
    """What is counted: ``spans``, ``data points``, ``log records`` or ``scores``."""
    exported: int
    spooled: int
    dropped: dict[str, int]
    """Reason -> how many."""
    retries: int
    """Requests that had to be sent again."""


class ExportStats:
    """The counters of one pipeline. Losses are told once per interval, and kept in the spool folder if there is one."""

    def __init__(self, unit: str = "spans") -> None:
        self.unit = unit
        self.folder: Path | None = None
        self._details: dict[str, str] = {}
        """Reason -> what was answered, or what went wrong, last."""
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.RLock()  # a finaliser may end a span while this very thread holds it
        self._exported = self._spooled = self._retries = 0
        self._dropped: Counter[str] = Counter()
        self._untold: Counter[tuple[str, str]] = Counter()
        self._unflushed = 0
        self._left_told: set[str] = set()
        self._logged_at = float("-inf")

    after_fork = _renew
    """The child starts at nothing: what its parent counted is the parent's to tell."""

    def record_exported(self, items: int) -> None:
        with self._lock:
            self._exported += items

    def record_spooled(self, items: int) -> None:
        with self._lock:
            self._spooled += items

    def record_retry(self) -> None:
        with self._lock:
            self._retries += 1

    def record_dropped(self, reason: str, items: int, detail: str = "") -> None:
        if items <= 0:
            return
        with self._lock:
            self._dropped[reason] += items
            self._untold[self.unit, reason] += items
            self._unflushed += items
            if detail:
                self._details[reason] = detail
        self.log_losses()

    def record_foreign_loss(self, reason: str, items: int, unit: str) -> None:
        """What another process had left is lost by our doing: told, but not one of our counts."""
        with self._lock:
            self._untold[unit, reason] += items
        self.log_losses()

    def new_losses(self) -> int:
        """How many were lost since this was last asked."""
        with self._lock:
            lost, self._unflushed = self._unflushed, 0
        return lost

    def counts(self) -> Counts:
        with self._lock:
            return Counts(self.unit, self._exported, self._spooled, dict(self._dropped), self._retries)

    def tell_left(self, action: str, *, on_disk: int = 0, in_memory: int = 0) -> None:
        """Log, once for each ``action``, what waits after it has run out of time."""
        with self._lock:
            if action in self._left_told or not (on_disk or in_memory):
                return
            self._left_told.add(action)
        parts = []
        if on_disk:
            parts.append(f"{on_disk} {self.unit} wait in {self.folder}, for this process or the next one that uses it")
        if in_memory:
            parts.append(f"{in_memory} {self.unit} wait in memory, and end with the process")
        _log.warning("llmtrace: %s ran out of time: %s", action, "; ".join(parts))

    def log_losses(self, *, now: bool = False) -> None:
        """Report losses that were not reported yet, at most once per interval unless it is the last occasion."""
        with self._lock:
            if not self._untold or (not now and time.monotonic() - self._logged_at < _INTERVAL):
                return
            self._logged_at = time.monotonic()
            untold, self._untold = self._untold, Counter()
        for (unit, reason), items in untold.items():
            detail = self._details.get(reason)
            said = f"; last answer: {detail}" if detail and reason == "refused" else f": {detail}" if detail else ""
            name = unit.removesuffix("s") if items == 1 else unit
            _log.warning("llmtrace lost %d %s: %s (%s)%s", items, name, _REASONS.get(reason, reason), reason, said)
        if self.folder is not None:
            _remember(self.folder, untold)


def _remember(folder: Path, losses: Counter[tuple[str, str]]) -> None:
    moment, pid = time.time(), os.getpid()
    lines = "".join(
        json.dumps({"time": round(moment, 3), "pid": pid, "reason": reason, "unit": unit, "items": items}) + "\n"
        for (unit, reason), items in losses.items()
    )
    path = folder / LOSSES
    with suppress(OSError):  # a full disk is what may be told here
        if path.exists() and path.stat().st_size > _LOSSES_MAX_BYTES:
            path.replace(path.with_suffix(".1.jsonl"))
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NO_LINKS, 0o600)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def read_losses(folder: Path, unit: str = "spans") -> Counter[str]:
    """What was lost by reason, as the processes that used this folder wrote it down."""
    found: Counter[str] = Counter()
    for path in (folder / LOSSES, (folder / LOSSES).with_suffix(".1.jsonl")):
        for told in _losses_in(path):
            reason, items = told.get("reason"), told.get("items")
            if told.get("unit") == unit and isinstance(reason, str) and isinstance(items, int):
                found[reason] += items
    return found


def _losses_in(path: Path) -> Iterator[dict[str, object]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        with suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                yield told
