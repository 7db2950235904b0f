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
from pathlib import Path

from .buffers import Entry, Memory
from .claim import Claim
from .destination import Destination
from .ledger import Ledger
from .payload import Form, Payload
from .segment import Record, Segment
from .signals import SIGNALS

__all__ = ["Spool", "homes", "unit_of"]

_log = logging.getLogger("llmtrace")
_SEGMENT = 4 << 20
_OVERFLOW = 32 << 20
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_MEASURE_EVERY = 1.0
_GATHERED_ITEMS, _GATHERED_BYTES = 512, 256 << 10
"""Most of one request that is put together from several."""


class Spool:
    """The part of a spool folder that this process writes, and the parts it has adopted."""

    def __init__(self, folder: Path, destination: Destination, max_bytes: int, ledger: Ledger) -> None:
        self.folder = folder
        self.destination = destination
        self._max_bytes = max_bytes
        self._segment_bytes = max(64 << 10, min(_SEGMENT, max_bytes // 8))
        self._ledger = ledger
        ledger.folder = folder
        self._memory = Memory(_OVERFLOW, ledger)
        """Where requests go that the disk does not take."""
        self._claims: list[Claim] = []
        self._complained = False
        self._named = 0
        self._start()

    def _start(self) -> None:
        self._lock = threading.RLock()
        self._claim: Claim | None = None
        self._segments: deque[Segment] = deque()
        """All that we hold, own and adopted, oldest first."""
        self._gathered: Segment | None = None
        """The last one that was rewritten, or that there was no need to."""
        self._own: deque[Record] = deque()
        self._adopted: deque[Record] = deque()
        self._lent: Record | None = None
        self._elsewhere = 0
        self._measured_at = float("-inf")

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
                record = self._append(payload)  # which may make room, and ``_own`` anew
                self._own.append(record)
                return True
            except OSError as error:
                self._complain(error)
        return self._memory.put(payload)

    def _append(self, payload: Payload) -> Record:
        size = len(payload.body) + 64
        while self._total() + size > self._max_bytes:
            if not self._drop_oldest():
                raise OSError(errno.ENOSPC, "the spool is full")
        while True:
            try:
                return self._current(size).append(payload)
            except FileNotFoundError:  # somebody cleaned up behind our back
                if self._claim is None:
                    raise
                self._claim = None
            except OSError as error:
                if error.errno not in _FULL or not self._drop_oldest():
                    raise

    def _current(self, size: int) -> Segment:
        if self._claim is None:
            self._claim = Claim.create(self.folder, self.destination.key)
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

    def _total(self) -> int:
        """Bytes in the folder. What other processes hold is looked at once a second."""
        now = time.monotonic()
        if now - self._measured_at > _MEASURE_EVERY:
            self._measured_at = now
            ours = {claim.path for claim in self._claims}
            self._elsewhere = sum(
                _size(path) for home in homes(self.folder) if home not in ours for path in home.glob("*.seg")
            )
        return self._elsewhere + sum(segment.size for segment in self._segments)

    def _drop_oldest(self) -> bool:
        """Give up the oldest segment that we hold, or can get hold of. The one being sent may arrive yet: not that."""
        if self._adopt(""):
            self._measured_at = float("-inf")
            return True
        for segment in self._segments:
            if self._lent is None or self._lent.segment is not segment:
                break
        else:
            return False
        self._segments.remove(segment)
        self._own = deque(record for record in self._own if record.segment is not segment)
        self._adopted = deque(record for record in self._adopted if record.segment is not segment)
        with suppress(OSError):
            segment.remove()
        self._ledger.lost("spool_full", segment.items)
        self._measured_at = float("-inf")
        return True

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            self._complained = True
            _log.warning(
                "llmtrace cannot write its spool in %s (%s): %s wait in memory; LLMTRACE_SPOOL names another folder",
                self.folder,
                error.strerror or error,
                self._ledger.unit,
            )

    # -- sending ------------------------------------------------------------------------------------------------------

    def ready(self) -> bool:
        return bool(self._own or self._adopted) or self._memory.ready()

    def first(self) -> Entry | None:
        with self._lock:
            for records in (self._own, self._adopted):
                if records:
                    self._lent = records[0]
                    return self._lent
        return self._memory.first()

    def gather(self, form: Form) -> None:
        """Rewrite the segment that is sent next with fewer, larger records, and close it.

        The new file takes the place of the old one at once: whenever the process dies, each request has one form,
        and one that is sent a second time has the same bytes.
        """
        with self._lock:
            segment = self._own[0].segment if self._own else None
            if segment is None or segment is self._gathered:
                return
            records = [record for record in self._own if record.segment is segment]
            try:
                payloads = [payload for record in records if (payload := record.load()) is not None]
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
                return
            records.remove(entry)
            segment = entry.segment
            try:
                segment.mark_done(entry)
            except FileNotFoundError:
                segment.close()  # write no more into a file that nobody can find
            except OSError:
                _log.debug("llmtrace could not mark a request in %s", segment.path, exc_info=True)
            if segment.pending == 0 and not segment.open:
                self._retire(segment)
            if not self._adopted and len(self._claims) > 1:
                self._release_adopted()

    def put_back(self, entry: Entry, *, last: bool) -> None:
        if not isinstance(entry, Record):
            self._memory.put_back(entry, last=last)
            return
        with self._lock:
            self._lent = None
            records = self._place(entry)
            if last and records is not None:
                records.remove(entry)
                records.append(entry)

    def _place(self, record: Record) -> deque[Record] | None:
        return next((records for records in (self._own, self._adopted) if record in records), None)

    def waiting(self) -> int:
        return len(self._own) + self._memory.waiting()

    def unsaved(self) -> int:
        return self._memory.unsaved()

    # -- what dead processes left -------------------------------------------------------------------------------------

    def adopt(self) -> None:
        with self._lock:
            self._adopt(self.destination.key)

    def _adopt(self, key: str) -> bool:
        """Get hold of what nobody holds; with no key also of what is bound elsewhere, for its room. True if that
        made some."""
        shrunk = False
        ours = {claim.path for claim in self._claims}
        for home in homes(self.folder):
            if home in ours or not home.name.startswith(key):
                continue
            claim = Claim.take(home)
            if claim is None:
                continue
            if home.name.startswith(self.destination.key):
                self._take_over(claim)
            elif not shrunk:
                shrunk = self._shrink(claim)
                claim.release()
            else:
                claim.release()
        return shrunk

    def _take_over(self, claim: Claim) -> None:
        self._claims.append(claim)
        for path in claim.segments():
            with suppress(OSError):
                segment, records = Segment.read(path)
                if segment.torn:
                    _log.info("llmtrace skipped %d damaged places in %s", segment.torn, path)
                if not records:
                    segment.remove()
                    continue
                self._segments.append(segment)
                self._adopted.extend(records)
        self._segments = deque(sorted(self._segments, key=lambda segment: (segment.open, segment.path.name)))
        if not self._adopted:
            self._release_adopted()

    def _shrink(self, claim: Claim) -> bool:
        """Make room by the oldest segment of a dead process that was bound for another destination."""
        for path in claim.segments()[:1]:
            with suppress(OSError):
                segment, _ = Segment.read(path)
                if self._segments and self._segments[0].path.name < path.name:
                    return False
                segment.remove()
                self._ledger.lost_of_others("spool_full", segment.items, unit_of(claim.path))
                return True
        return False

    def _release_adopted(self) -> None:
        for claim in self._claims:
            if claim is not self._claim:
                claim.release()
        self._claims = [claim for claim in self._claims if claim is self._claim]

    def close(self) -> None:
        with self._lock:
            for segment in list(self._segments):
                self._retire(segment)
            for claim in self._claims:
                claim.release()
            self._claims = []
            self._start()
        self._memory.close()

    def give_up_memory(self) -> None:
        self._memory.give_up_memory()


def _joined(payloads: Sequence[Payload], form: Form) -> list[Payload]:
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


def homes(folder: Path) -> list[Path]:
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


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
