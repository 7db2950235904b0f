"""The buffer on disk: what was written survives the process, and is sent by the next one.

Layout of the folder: one directory per process and destination, locked while the process lives (``claim``), with
segments of records in it (``segment``). Nobody but the holder of the lock writes to a directory or reads its records,
so each request has one sender at any time.
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

from ..otlp.buffers import Entry, Left, MemoryBuffer
from ..otlp.destination import Destination
from ..otlp.payload import Encoder, Payload
from ..signals import SIGNALS
from ..stats import ExportStats
from .directory import LockedDirectory
from .segment import Record, Segment

__all__ = ["SpoolBuffer", "directories_in", "unit_of"]

_log = logging.getLogger("llmtrace")
_SEGMENT_BYTES = 4 << 20
_OVERFLOW_BYTES = 32 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_SPOOL_FULL = "the spool is full"
_MEASURE_EVERY = 1.0
_MEASURE_SHARE = 50
"""Measuring the folder takes at most one part in so many of the time."""
_ADOPTED_AT_ONCE = 8
"""Directories of dead processes that are held at a time: a descriptor each."""
_LOOK_EVERY = 30.0
_GATHERED_ITEMS, _GATHERED_BYTES = 512, 256 << 10
"""Most of one request that is put together from several."""


class SpoolBuffer:
    """The part of a spool folder that this process writes, and the parts it has adopted."""

    def __init__(self, folder: Path, destination: Destination, max_bytes: int, ledger: ExportStats) -> None:
        self.folder = folder
        self.destination = destination
        self._max_bytes = max_bytes
        self._segment_bytes = max(64 << 10, min(_SEGMENT_BYTES, max_bytes // 8))
        self._ledger = ledger
        ledger.folder = folder
        self._memory = MemoryBuffer(_OVERFLOW_BYTES, ledger)
        """Where requests go that the disk does not take."""
        self._claims: list[LockedDirectory] = []
        self._complained = False
        self._named = 0
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._claim: LockedDirectory | None = None
        self._segments: deque[Segment] = deque()
        """All that we hold, own and adopted, oldest first."""
        self._gathered: Segment | None = None
        """The last one that was rewritten, or that there was no need to."""
        self._own: deque[Record] = deque()
        self._adopted: deque[Record] = deque()
        self._put_last: set[Record] = set()
        """Those of them that wait until nothing else does, as they could not be sent or read."""
        self._left: deque[Path] = deque()
        """Directories to adopt next, oldest first."""
        self._look_at = float("-inf")
        self._lent: Record | None = None
        self._elsewhere = 0
        self._measure_at = float("-inf")

    def after_fork(self) -> None:
        for claim in self._claims:
            claim.forget()
        for segment in self._segments:
            segment.close()
        self._claims = []
        self._memory.after_fork()
        self._start()

    # -- writing ------------------------------------------------------------------------------------------------------

    def put(self, payload: Payload) -> bool:
        with self._lock:
            try:
                self._keep(payload)
                self._save_memory()
            except OSError as error:
                self._log_write_error(error)
                return self._memory.put(payload)
        self._measure()
        return True

    def _keep(self, payload: Payload) -> None:
        record = self._append(payload)  # which may make room, and ``_own`` anew
        self._own.append(record)

    def _save_memory(self) -> None:
        """Write what waits in memory, now that the disk takes it again."""
        while (payload := self._memory.oldest()) is not None:
            try:
                self._keep(payload)
            except OSError:
                return
            self._memory.forget(payload)

    def _append(self, payload: Payload) -> Record:
        size = len(payload.body) + 64
        excess = self._total() + size - self._max_bytes
        if size > self._max_bytes or not self._make_room(excess, "spool_full"):
            raise OSError(errno.ENOSPC, _SPOOL_FULL)
        reopened = False
        while True:
            try:
                return self._current(size).append(payload)
            except FileNotFoundError:  # removed behind our back
                if self._claim is None:
                    raise
                self._claim = None
            except OSError as error:
                if error.errno == errno.EBADF and not reopened:
                    reopened = True
                    self._reopen()
                elif error.errno not in _FULL or not self._make_room(1, "disk_full"):
                    raise

    def _current(self, size: int) -> Segment:
        if self._claim is None:
            self._claim = LockedDirectory.create(self.folder, self.destination.key)
            self._claims.append(self._claim)
        last = self._segments[-1] if self._segments else None
        if last is not None and last.open:
            if last.path.parent == self._claim.path and last.size + size <= self._segment_bytes:
                return last
            self._retire(last)
        self._named = max(self._named + 1, time.time_ns())
        segment = Segment.create(self._claim.path / f"{self._named:020d}.seg", self.destination)
        self._segments.append(segment)
        return segment

    def _retire(self, segment: Segment) -> None:
        segment.close()
        if segment.pending == 0:
            self._segments.remove(segment)
            with suppress(OSError):
                segment.remove()

    def _reopen(self) -> None:
        """Go on after the program has closed all descriptors, as daemons do: lock what is still ours once more."""
        for segment in self._segments:
            segment.close()
        for claim in [claim for claim in self._claims if not claim.held() and not claim.retake()]:
            # Another process was faster: it sends what is in there.
            self._claims.remove(claim)
            if claim is self._claim:
                self._claim = None
            self._forget([segment for segment in self._segments if segment.path.parent == claim.path])

    def _forget(self, segments: list[Segment]) -> None:
        gone = set(map(id, segments))
        self._segments = deque(segment for segment in self._segments if id(segment) not in gone)
        self._own = deque(record for record in self._own if id(record.segment) not in gone)
        self._adopted = deque(record for record in self._adopted if id(record.segment) not in gone)
        self._put_last = {record for record in self._put_last if id(record.segment) not in gone}

    # -- staying within the limit -------------------------------------------------------------------------------------

    def _total(self) -> int:
        """Bytes in the folder, as far as known."""
        return self._elsewhere + sum(segment.size for segment in self._segments)

    def _measure(self) -> None:
        """Look how much other processes keep in the folder, and make room; seldom where that takes long."""
        began = time.monotonic()
        if began < self._measure_at:
            return
        with self._lock:
            ours = {claim.path for claim in self._claims}
        elsewhere = sum(_bytes_in(home) for home in directories_in(self.folder) if home not in ours)
        now = time.monotonic()
        with self._lock:
            self._elsewhere = elsewhere
            self._measure_at = now + max(_MEASURE_EVERY, _MEASURE_SHARE * (now - began))
            self._make_room(self._total() - self._max_bytes, "spool_full")

    def _make_room(self, needed: int, reason: str) -> bool:
        """Give up the oldest until ``needed`` bytes are free. False when there is too little to give up."""
        while needed > 0:
            freed = self._drop_oldest(reason)
            if freed == 0:
                return False
            needed -= freed
        return True

    def _drop_oldest(self, reason: str) -> int:
        """Give up the oldest segment that we hold, or can get hold of; return its size. The one being sent may arrive
        yet: not that."""
        lent = None if self._lent is None else self._lent.segment
        oldest = next((segment for segment in self._segments if segment is not lent), None)
        mine = {claim.path for claim in self._claims}
        for home in directories_in(self.folder):
            if oldest is not None and home.name.split("-")[2:3] >= [oldest.path.name[:20]]:
                break
            if home not in mine and (freed := self._shrink(home, oldest, reason)):
                self._elsewhere = max(0, self._elsewhere - freed)
                return freed
        if oldest is None:
            return 0
        self._forget([oldest])
        with suppress(OSError):
            oldest.remove()
        self._ledger.record_dropped(reason, oldest.items)
        return oldest.size

    def _shrink(self, home: Path, younger: Segment | None, reason: str) -> int:
        """Give up the oldest segment that a dead process left, and return its size; 0 for none older than ours."""
        freed = 0
        with suppress(OSError):
            claim = LockedDirectory.claim(home)
            if claim is None:
                return 0
            try:
                for path in claim.segments()[:1]:
                    if younger is None or path.name < younger.path.name:
                        segment, _ = Segment.read(path)
                        segment.remove()
                        self._ledger.record_foreign_loss(reason, segment.items, unit_of(home))
                        freed = segment.size
            finally:
                claim.release()
        return freed

    def _log_write_error(self, error: OSError) -> None:
        why = error.strerror or str(error)
        self._memory.because = (_reason(error), why)
        if not self._complained:
            self._complained = True
            _log.warning(
                "llmtrace cannot write its spool in %s (%s): %s wait in memory; LLMTRACE_SPOOL names another folder",
                self.folder,
                why,
                self._ledger.unit,
            )

    # -- sending ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        return bool(self._own or self._adopted) or self._memory.ready()

    def first(self) -> Entry | None:
        with self._lock:
            if not all(claim.held() for claim in self._claims):
                self._reopen()
            self._lent = self._fresh(self._own)
            if self._lent is None and (entry := self._memory.first()) is not None:
                return entry
            self._lent = self._lent or self._fresh(self._adopted) or next(chain(self._own, self._adopted), None)
            return self._lent

    def _fresh(self, records: deque[Record]) -> Record | None:
        return next((record for record in records if record not in self._put_last), None)

    def gather(self, form: Encoder) -> None:
        """Rewrite the segment that is sent next with fewer, larger records, and close it.

        The new file takes the place of the old one at once: whenever the process dies, each request has one form,
        and one that is sent a second time has the same bytes.
        """
        with self._lock:
            segment = self._own[0].segment if self._own else None
            records = [record for record in self._own if record.segment is segment]
            if segment is None or segment is self._gathered or not self._put_last.isdisjoint(records):
                return
            try:
                payloads = [payload for record in records if (payload := record.load()) is not None]
                segment.end_reading()
                if len(payloads) == len(records):  # a damaged one is reported when it is to be sent
                    requests = _joined(payloads, form)
                    if len(requests) < len(records):
                        segment = self._replace(segment, requests)
            except OSError:
                _log.debug("llmtrace could not rewrite %s", segment.path, exc_info=True)
            if not segment.open:
                self._gathered = segment

    def _replace(self, segment: Segment, requests: list[Payload]) -> Segment:
        made = Segment.create(segment.path.with_suffix(".tmp"), self.destination)
        try:
            records = [made.append(request) for request in requests]
            made.close()
            segment.close()  # before it is replaced: Windows keeps open files
            made.path.replace(segment.path)
        except OSError:
            made.remove()
            raise
        made.path = segment.path
        self._segments[self._segments.index(segment)] = made
        self._own = deque([*records, *(record for record in self._own if record.segment is not segment)])
        return made

    def done(self, entry: Entry) -> None:
        if not isinstance(entry, Record):
            self._memory.done(entry)
            return
        with self._lock:
            self._lent = None
            records = self._place(entry)
            if records is None:
                entry.segment.end_reading()
                return
            records.remove(entry)
            self._put_last.discard(entry)
            segment = entry.segment
            try:
                segment.mark_done(entry)
            except FileNotFoundError:
                segment.close()  # write no more into a file that nobody can find
            except OSError:
                _log.warning("llmtrace could not mark a request in %s: it may be sent again", segment.path)
            segment.end_reading()
            if segment.pending == 0 and not segment.open:
                self._retire(segment)
            if not self._adopted:
                self._release_adopted()

    def put_back(self, entry: Entry, *, last: bool) -> None:
        if not isinstance(entry, Record):
            self._memory.put_back(entry, last=last)
            return
        with self._lock:
            self._lent = None
            entry.segment.end_reading()
            records = self._place(entry)
            if last and records is not None:
                records.remove(entry)
                records.append(entry)
                self._put_last.add(entry)

    def _place(self, record: Record) -> deque[Record] | None:
        return next((records for records in (self._own, self._adopted) if record in records), None)

    def waiting(self) -> int:
        return len(self._own) + self._memory.waiting()

    def unsaved(self) -> int:
        return self._memory.unsaved()

    def left(self) -> Left:
        with self._lock:
            return Left(sum(record.items for record in self._own), self.unsaved())

    # -- what dead processes left -------------------------------------------------------------------------------------

    def adopt(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if not self._left and now >= self._look_at:
                self._look_at = now + _LOOK_EVERY
                key = f"{self.destination.key}-"
                self._left.extend(home for home in directories_in(self.folder) if home.name.startswith(key))
            ours = {claim.path for claim in self._claims}
            while self._left and len(ours) <= _ADOPTED_AT_ONCE:
                home = self._left.popleft()
                if home not in ours:
                    ours.add(home)
                    self._adopt(home)
            if not self._adopted:
                self._release_adopted()
            return bool(self._adopted or self._left)

    def _adopt(self, home: Path) -> None:
        try:
            claim = LockedDirectory.claim(home)
        except OSError:  # no descriptor left: the program needs them more
            self._left.clear()
            return
        if claim is None:
            return
        self._claims.append(claim)
        with suppress(OSError):  # what cannot be read now is read later, by this process or another
            for path in claim.segments():
                with suppress(OSError):
                    self._adopt_directory(*Segment.read(path))
        self._segments = deque(sorted(self._segments, key=lambda segment: (segment.open, segment.path.name)))

    def _adopt_directory(self, segment: Segment, records: list[Record]) -> None:
        unreported = segment.unreported()
        self._ledger.record_dropped("corrupt", unreported)
        if not records:
            segment.remove()
            return
        self._segments.append(segment)
        self._adopted.extend(records)
        if unreported:
            segment.mark_reported()

    def _release_adopted(self) -> None:
        for claim in self._claims:
            if claim is not self._claim:
                claim.release()
        self._claims = [claim for claim in self._claims if claim is self._claim]

    def close(self) -> None:
        with self._lock:
            self._save_memory()
            for segment in list(self._segments):
                self._retire(segment)
            for claim in self._claims:
                claim.release()
            self._claims = []
            self._start()
        self._memory.close()

    def give_up_memory(self) -> None:
        with self._lock:
            self._save_memory()
        self._memory.give_up_memory()


def _reason(error: OSError) -> str:
    """The reason of losses that come of requests not being on disk."""
    if error.errno in _FULL:
        return "spool_full" if error.strerror == _SPOOL_FULL else "disk_full"
    return "spool_unwritable"


def _joined(payloads: Sequence[Payload], form: Encoder) -> list[Payload]:
    """Return what ``payloads`` hold in as few requests as the bounds allow."""
    found: list[list[Payload]] = []
    items = size = 0
    for payload in payloads:
        items, size = items + payload.items, size + len(payload.body)
        if found and items <= _GATHERED_ITEMS and size <= _GATHERED_BYTES and payload.encoding == found[-1][0].encoding:
            found[-1].append(payload)
        else:
            found.append([payload])
            items, size = payload.items, len(payload.body)
    return [joined for group in found for joined in form.join(group)]


def directories_in(folder: Path) -> list[Path]:
    """The directories of all processes, oldest first."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=lambda name: name.split("-")[2:])]


def unit_of(home: Path) -> str:
    """What is counted in one of them."""
    signal = home.name.partition("-")[0]
    return next((each.unit for each in SIGNALS if each.name == signal), "scores")


def _bytes_in(home: Path) -> int:
    try:
        with os.scandir(home) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.name.endswith(".seg"))
    except OSError:  # its owner is done with it
        return 0
