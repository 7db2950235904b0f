"""Disk buffer: requests that a process leaves behind are sent by the next one.

The spool folder has one directory per process and destination, locked while the process lives (``directory.py``). It
contains segments of records (``segment.py``). Only the holder of the lock writes to a directory or reads its records
for sending, so each request has one sender at any time.
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from ..._process import warn_once
from ..otlp.buffers import Entry, MemoryBuffer
from ..otlp.destination import Destination
from ..otlp.payload import Encoder, Payload
from ..signals import SIGNALS
from ..stats import ExportStats
from .directory import LockedDirectory
from .segment import Record, Segment

_log = logging.getLogger("llmtrace")
_SEGMENT_BYTES = 4 << 20
_OVERFLOW_BYTES = 32 << 20
_FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SPOOL_FULL_TEXT = "the spool is full"
_MEASURE_INTERVAL_SECONDS = 1.0
_MEASURE_PAUSE_FACTOR = 50
"""Pause after a measurement, as a multiple of its duration: measuring takes at most 2 % of the time."""
_ADOPTED_AT_ONCE = 8
"""Maximum directories of dead processes that are locked at a time: each takes a descriptor."""
_SCAN_INTERVAL_SECONDS = 30.0
_COALESCED_MAX_ITEMS, _COALESCED_MAX_BYTES = 512, 256 << 10
"""Maximum size of a request that is merged from several."""


class SpoolBuffer:
    """The directories of a spool folder that this process writes or has adopted."""

    def __init__(self, folder: Path, destination: Destination, max_bytes: int, stats: ExportStats) -> None:
        self.folder = folder
        self.destination = destination
        self._max_bytes = max_bytes
        self._segment_bytes = max(64 << 10, min(_SEGMENT_BYTES, max_bytes // 8))
        self._stats = stats
        stats.folder = folder
        self._memory = MemoryBuffer(_OVERFLOW_BYTES, stats)
        """Requests that the disk did not take."""
        self._directories: list[LockedDirectory] = []
        self._last_name_ns = 0
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._own_directory: LockedDirectory | None = None
        self._segments: deque[Segment] = deque()
        """Segments of this process and adopted ones, oldest first."""
        self._coalesced: Segment | None = None
        """The last segment that was merged, or that needed no merging."""
        self._own: deque[Record] = deque()
        self._adopted: deque[Record] = deque()
        self._deferred: set[Record] = set()
        """Records that could not be sent or read, and are tried after all others."""
        self._unadopted: deque[Path] = deque()
        """Directories to try to adopt next, oldest first."""
        self._next_scan = float("-inf")
        self._in_flight: Record | None = None
        self._foreign_bytes = 0
        self._next_measurement = float("-inf")

    def after_fork(self) -> None:
        """Forget all directories in a forked child, without unlocking them for the parent."""
        for directory in self._directories:
            directory.forget()
        for segment in self._segments:
            segment.close()
        self._directories = []
        self._memory.after_fork()
        self._start()

    # -- writing ------------------------------------------------------------------------------------------------------

    def put(self, payload: Payload) -> bool:
        """Write a request to disk, or queue it in memory if that fails."""
        with self._lock:
            try:
                self._store(payload)
                self._save_memory()
            except OSError as error:
                self._log_write_error(error)
                return self._memory.put(payload)
        self._measure()
        return True

    def _store(self, payload: Payload) -> None:
        record = self._append(payload)  # before reading ``_own``, which is replaced when this makes room
        self._own.append(record)

    def _save_memory(self) -> None:
        """Write the requests in memory to disk, if it takes them again."""
        while (payload := self._memory.oldest()) is not None:
            try:
                self._store(payload)
            except OSError:
                return
            self._memory.forget(payload)

    def _append(self, payload: Payload) -> Record:
        size = len(payload.body) + 64
        excess = self._total_bytes() + size - self._max_bytes
        if size > self._max_bytes or not self._make_room(excess, "spool_full"):
            raise OSError(errno.ENOSPC, _SPOOL_FULL_TEXT)
        reopened = False
        while True:
            try:
                return self._current_segment(size).append(payload)
            except FileNotFoundError:  # removed by another program
                if self._own_directory is None:
                    raise
                self._own_directory = None
            except OSError as error:
                if error.errno == errno.EBADF and not reopened:
                    reopened = True
                    self._reopen()
                elif error.errno not in _FULL_ERRNOS or not self._make_room(1, "disk_full"):
                    raise

    def _current_segment(self, size: int) -> Segment:
        if self._own_directory is None:
            self._own_directory = LockedDirectory.create(self.folder, self.destination.key)
            self._directories.append(self._own_directory)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.open:
            if last.path.parent == self._own_directory.path and last.size + size <= self._segment_bytes:
                return last
            self._retire(last)
        self._last_name_ns = max(self._last_name_ns + 1, time.time_ns())
        segment = Segment.create(self._own_directory.path / f"{self._last_name_ns:020d}.seg", self.destination)
        self._segments.append(segment)
        return segment

    def _retire(self, segment: Segment) -> None:
        segment.close()
        if segment.pending == 0:
            self._segments.remove(segment)
            with suppress(OSError):
                segment.remove()

    def _reopen(self) -> None:
        """Lock the directories again after the program has closed all descriptors, as daemons do."""
        for segment in self._segments:
            segment.close()
        for directory in [
            directory for directory in self._directories if not directory.held() and not directory.retake()
        ]:
            # Forget the directory: another process has locked it and sends its requests.
            self._directories.remove(directory)
            if directory is self._own_directory:
                self._own_directory = None
            self._forget([segment for segment in self._segments if segment.path.parent == directory.path])

    def _forget(self, segments: list[Segment]) -> None:
        segment_ids = set(map(id, segments))
        self._segments = deque(segment for segment in self._segments if id(segment) not in segment_ids)
        self._own = deque(record for record in self._own if id(record.segment) not in segment_ids)
        self._adopted = deque(record for record in self._adopted if id(record.segment) not in segment_ids)
        self._deferred = {record for record in self._deferred if id(record.segment) not in segment_ids}

    # -- staying within the limit -------------------------------------------------------------------------------------

    def _total_bytes(self) -> int:
        """Return the bytes in the folder, as last measured for the directories of other processes."""
        return self._foreign_bytes + sum(segment.size for segment in self._segments)

    def _measure(self) -> None:
        """Measure the bytes of other processes in the folder and make room, less often if that is slow."""
        started_at = time.monotonic()
        if started_at < self._next_measurement:
            return
        with self._lock:
            own_paths = {directory.path for directory in self._directories}
        foreign_bytes = sum(_bytes_in(path) for path in directories_in(self.folder) if path not in own_paths)
        now = time.monotonic()
        with self._lock:
            self._foreign_bytes = foreign_bytes
            self._next_measurement = now + max(_MEASURE_INTERVAL_SECONDS, _MEASURE_PAUSE_FACTOR * (now - started_at))
            self._make_room(self._total_bytes() - self._max_bytes, "spool_full")

    def _make_room(self, needed: int, reason: str) -> bool:
        """Drop the oldest segments until ``needed`` bytes are free. Return False if there are too few to drop."""
        while needed > 0:
            freed = self._drop_oldest(reason)
            if freed == 0:
                return False
            needed -= freed
        return True

    def _drop_oldest(self, reason: str) -> int:
        """Drop the oldest segment of this process or of a dead one, and return its size.

        The segment in flight is kept, because its request may still arrive.
        """
        in_flight = None if self._in_flight is None else self._in_flight.segment
        oldest = next((segment for segment in self._segments if segment is not in_flight), None)
        own_paths = {directory.path for directory in self._directories}
        for path in directories_in(self.folder):
            if oldest is not None and path.name.split("-")[2:3] >= [oldest.path.name[:20]]:
                break
            if path not in own_paths and (freed := self._drop_foreign_segment(path, oldest, reason)):
                self._foreign_bytes = max(0, self._foreign_bytes - freed)
                return freed
        if oldest is None:
            return 0
        self._forget([oldest])
        with suppress(OSError):
            oldest.remove()
        self._stats.record_dropped(reason, oldest.items)
        return oldest.size

    def _drop_foreign_segment(self, path: Path, newer_than: Segment | None, reason: str) -> int:
        """Drop the oldest segment of a dead process and return its size; 0 if it is not older than ``newer_than``."""
        freed = 0
        with suppress(OSError):
            directory = LockedDirectory.claim(path)
            if directory is None:
                return 0
            try:
                for segment_path in directory.segments()[:1]:
                    if newer_than is None or segment_path.name < newer_than.path.name:
                        segment, _ = Segment.read(segment_path)
                        segment.remove()
                        self._stats.record_foreign_loss(reason, segment.items, unit_of(path))
                        freed = segment.size
            finally:
                directory.release()
        return freed

    def _log_write_error(self, error: OSError) -> None:
        detail = error.strerror or str(error)
        self._memory.loss_cause = (_loss_reason(error), detail)
        unit = self._stats.unit
        warn_once(
            f"llmtrace cannot write its spool in {self.folder} ({detail}): {unit} wait in memory; "
            "set LLMTRACE_SPOOL to another folder",
            about=(self.folder, unit),
        )

    # -- sending ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        """Return True if a request is queued."""
        return bool(self._own or self._adopted) or self._memory.ready()

    def first(self) -> Entry | None:
        """Return the request to send next: own ones, those in memory, adopted ones, deferred ones."""
        with self._lock:
            if not all(directory.held() for directory in self._directories):
                self._reopen()
            self._in_flight = self._first_not_deferred(self._own)
            if self._in_flight is None and (entry := self._memory.first()) is not None:
                return entry
            self._in_flight = (
                self._in_flight
                or self._first_not_deferred(self._adopted)
                or next(chain(self._own, self._adopted), None)
            )
            return self._in_flight

    def _first_not_deferred(self, records: deque[Record]) -> Record | None:
        return next((record for record in records if record not in self._deferred), None)

    def coalesce(self, encoder: Encoder, limit: int | None) -> None:
        """Rewrite the segment that is sent next with fewer, larger records, and close it.

        The new file replaces the old one atomically. If the process dies, each item is in exactly one request, and
        a request that is sent twice has the same bytes.
        """
        with self._lock:
            segment = self._own[0].segment if self._own else None
            records = [record for record in self._own if record.segment is segment]
            if segment is None or segment is self._coalesced or not self._deferred.isdisjoint(records):
                return
            try:
                payloads = [payload for record in records if (payload := record.load()) is not None]
                segment.end_reading()
                if len(payloads) == len(records):  # otherwise one is damaged, which is reported when it is sent
                    requests = _coalesce(payloads, encoder, limit)
                    if len(requests) < len(records):
                        segment = self._replace(segment, requests)
            except OSError:
                _log.debug("llmtrace could not rewrite %s", segment.path, exc_info=True)
            if not segment.open:
                self._coalesced = segment

    def _replace(self, segment: Segment, requests: list[Payload]) -> Segment:
        replacement = Segment.create(segment.path.with_suffix(".tmp"), self.destination)
        try:
            records = [replacement.append(request) for request in requests]
            replacement.close()
            segment.close()  # because Windows cannot replace open files
            replacement.path.replace(segment.path)
        except OSError:
            replacement.remove()
            raise
        replacement.path = segment.path
        self._segments[self._segments.index(segment)] = replacement
        self._own = deque([*records, *(record for record in self._own if record.segment is not segment)])
        return replacement

    def done(self, entry: Entry) -> None:
        """Mark a request as done on disk, and remove its segment after the last one."""
        if not isinstance(entry, Record):
            self._memory.done(entry)
            return
        with self._lock:
            self._in_flight = None
            records = self._queue_of(entry)
            if records is None:
                entry.segment.end_reading()
                return
            records.remove(entry)
            self._deferred.discard(entry)
            segment = entry.segment
            try:
                segment.mark_done(entry)
            except FileNotFoundError:
                segment.close()  # do not append to a deleted file
            except OSError:
                _log.warning("llmtrace could not mark a request in %s as sent: it may be sent twice", segment.path)
            segment.end_reading()
            if segment.pending == 0 and not segment.open:
                self._retire(segment)
            if not self._adopted:
                self._release_adopted()

    def put_back(self, entry: Entry, *, last: bool) -> None:
        """Return an unsent request to the queue; with ``last``, defer it until all others are sent."""
        if not isinstance(entry, Record):
            self._memory.put_back(entry, last=last)
            return
        with self._lock:
            self._in_flight = None
            entry.segment.end_reading()
            records = self._queue_of(entry)
            if last and records is not None:
                records.remove(entry)
                records.append(entry)
                self._deferred.add(entry)

    def _queue_of(self, record: Record) -> deque[Record] | None:
        return next((records for records in (self._own, self._adopted) if record in records), None)

    def waiting(self) -> int:
        """Return the number of queued requests of this process, without adopted ones."""
        return len(self._own) + self._memory.waiting()

    def unsaved(self) -> int:
        """Return the number of items that wait in memory only."""
        return self._memory.unsaved()

    def saved(self) -> int:
        """Return the number of items of this process that wait on disk."""
        with self._lock:
            return sum(record.items for record in self._own)

    # -- spools of dead processes -------------------------------------------------------------------------------------

    def adopt(self) -> bool:
        """Lock a few directories of dead processes. Return True if there may be more to send."""
        with self._lock:
            now = time.monotonic()
            if not self._unadopted and now >= self._next_scan:
                self._next_scan = now + _SCAN_INTERVAL_SECONDS
                key = f"{self.destination.key}-"
                self._unadopted.extend(path for path in directories_in(self.folder) if path.name.startswith(key))
            own_paths = {directory.path for directory in self._directories}
            while self._unadopted and len(own_paths) <= _ADOPTED_AT_ONCE:
                path = self._unadopted.popleft()
                if path not in own_paths:
                    own_paths.add(path)
                    self._adopt_directory(path)
            if not self._adopted:
                self._release_adopted()
            return bool(self._adopted or self._unadopted)

    def _adopt_directory(self, path: Path) -> None:
        try:
            directory = LockedDirectory.claim(path)
        except OSError:  # no descriptor left: leave the few to the program
            self._unadopted.clear()
            return
        if directory is None:
            return
        self._directories.append(directory)
        with suppress(OSError):  # an unreadable segment is tried again later, perhaps by another process
            for segment_path in directory.segments():
                with suppress(OSError):
                    self._adopt_segment(*Segment.read(segment_path))
        self._segments = deque(sorted(self._segments, key=lambda segment: (segment.open, segment.path.name)))

    def _adopt_segment(self, segment: Segment, records: list[Record]) -> None:
        unreported = segment.unreported()
        self._stats.record_dropped("corrupt", unreported)
        if not records:
            segment.remove()
            return
        self._segments.append(segment)
        self._adopted.extend(records)
        if unreported:
            segment.mark_reported()

    def _release_adopted(self) -> None:
        for directory in self._directories:
            if directory is not self._own_directory:
                directory.release()
        self._directories = [directory for directory in self._directories if directory is self._own_directory]

    def close(self) -> None:
        """Write the requests in memory to disk if possible, and release all directories."""
        with self._lock:
            self._save_memory()
            for segment in list(self._segments):
                self._retire(segment)
            for directory in self._directories:
                directory.release()
            self._directories = []
            self._start()
        self._memory.close()

    def drop_memory(self) -> None:
        """Write the requests in memory to disk if possible, and count the rest as lost."""
        with self._lock:
            self._save_memory()
        self._memory.drop_memory()


def _loss_reason(error: OSError) -> str:
    """Return the drop reason of requests that are lost because of this write error."""
    if error.errno in _FULL_ERRNOS:
        return "spool_full" if error.strerror == _SPOOL_FULL_TEXT else "disk_full"
    return "spool_unwritable"


def _coalesce(payloads: Sequence[Payload], encoder: Encoder, limit: int | None) -> list[Payload]:
    """Merge payloads into as few requests as the limits allow. ``limit`` applies before compression."""
    groups: list[list[Payload]] = []
    items = size = raw_size = 0
    for payload in payloads:
        payload_raw_size = 0 if limit is None else len(payload.raw())
        items, size, raw_size = items + payload.items, size + len(payload.body), raw_size + payload_raw_size
        if (
            groups
            and items <= _COALESCED_MAX_ITEMS
            and size <= _COALESCED_MAX_BYTES
            and (limit is None or raw_size <= limit)
            and payload.encoding == groups[-1][0].encoding
        ):
            groups[-1].append(payload)
        else:
            groups.append([payload])
            items, size, raw_size = payload.items, len(payload.body), payload_raw_size
    return [payload for group in groups for payload in encoder.join(group)]


def directories_in(folder: Path) -> list[Path]:
    """Return the directories of all processes, oldest first."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: name.split("-")[2:])]


def unit_of(path: Path) -> str:
    """Return the plural name of the items in a spool directory."""
    name = path.name.partition("-")[0]
    return next((signal.unit for signal in SIGNALS if signal.name == name), "scores")


def _bytes_in(path: Path) -> int:
    try:
        with os.scandir(path) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.endswith(".seg"))
    except OSError:  # removed by its owner
        return 0
