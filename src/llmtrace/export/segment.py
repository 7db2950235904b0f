"""The file format of the spool: a description, then checksummed records, each marked in place when it is done with."""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from .destination import Destination
from .payload import ENCODINGS, Payload

__all__ = ["Record", "Segment", "describe"]

_HEAD = struct.Struct("<8sII")  # magic, length of the description, its checksum
_RECORD = struct.Struct("<4sBBHIII")  # mark, state, encoding, checksum of the head, items, length, checksum of the body
_MAGIC, _MARK = b"LLMSPL01", b"\xf1REC"
_PENDING, _DONE = 0, 1
_STATE_AT = 4
_CHUNK = 1 << 20


@dataclass(eq=False, slots=True)
class Record:
    """One request waiting in a segment."""

    segment: Segment
    offset: int
    size: int
    encoding: int
    items: int
    checksum: int

    def load(self) -> Payload | None:
        """The request, or ``None`` when its bytes are no longer those that were written."""
        try:
            with self.segment.path.open("rb") as file:
                file.seek(self.offset + _RECORD.size)
                body = file.read(self.size)
        except OSError:
            return None
        if _checksum(body, self.encoding, self.items) != self.checksum:
            return None
        return Payload(body, ENCODINGS[self.encoding], self.items)


@dataclass(eq=False, slots=True)
class Segment:
    """One file. The process that has the claim on its directory is the only one to write in it."""

    path: Path
    size: int = 0
    pending: int = 0
    """Records that are not done with."""
    items: int = 0
    """Spans, data points or log records in them."""
    torn: int = 0
    """Places where the file is damaged."""
    _descriptor: int = field(default=-1, repr=False)

    @classmethod
    def create(cls, path: Path, destination: Destination) -> Segment:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
        segment = cls(path, _descriptor=descriptor)
        about = json.dumps(asdict(destination)).encode()
        try:
            segment._write(_HEAD.pack(_MAGIC, len(about), zlib.crc32(about)) + about)
        except OSError:
            segment.remove()
            raise
        return segment

    @property
    def open(self) -> bool:
        return self._descriptor >= 0

    def append(self, payload: Payload) -> Record:
        """Write a record at the end.

        Raises:
            FileNotFoundError: Somebody has removed the file.
            OSError: It could not be written whole; the file is as it was.
        """
        if os.fstat(self._descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "removed while in use", str(self.path))
        encoding = ENCODINGS.index(payload.encoding)
        checksum = _checksum(payload.body, encoding, payload.items)
        record = Record(self, self.size, len(payload.body), encoding, payload.items, checksum)
        sealed = _seal(encoding, payload.items, len(payload.body), checksum)
        head = _RECORD.pack(_MARK, _PENDING, encoding, sealed, payload.items, len(payload.body), checksum)
        self._write(head + payload.body)
        self.pending += 1
        self.items += payload.items
        return record

    def _write(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError:
            os.ftruncate(self._descriptor, self.size)
            os.lseek(self._descriptor, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def mark_done(self, record: Record) -> None:
        """One byte in place: the only write between a backend's acknowledgement and our memory of it."""
        self.pending -= 1
        self.items -= record.items
        with self.path.open("r+b", buffering=0) as file:
            file.seek(record.offset + _STATE_AT)
            file.write(bytes((_DONE,)))

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    @classmethod
    def read(cls, path: Path) -> tuple[Segment, list[Record]]:
        """What a process left behind. Damage ends a record, not the reading."""
        segment = cls(path, size=path.stat().st_size)
        records = list(segment._records())
        segment.pending = len(records)
        segment.items = sum(record.items for record in records)
        return segment, records

    def _records(self) -> Iterator[Record]:
        with self.path.open("rb") as file:
            about = _about(file)
            at = 0 if about is None else _HEAD.size + len(about)
            while at < self.size:
                file.seek(at)
                head = file.read(_RECORD.size)
                record = self._record(head, at)
                if record is None:
                    self.torn += 1
                    at = _next_mark(self.path, at + 1, self.size)
                    continue
                at += _RECORD.size + record.size
                if head[_STATE_AT] == _PENDING:
                    yield record

    def _record(self, head: bytes, at: int) -> Record | None:
        if len(head) < _RECORD.size:
            return None
        mark, _, encoding, sealed, items, size, checksum = _RECORD.unpack(head)
        if mark != _MARK or encoding >= len(ENCODINGS) or at + _RECORD.size + size > self.size:
            return None
        if sealed != _seal(encoding, items, size, checksum):  # a wrong length would swallow its neighbours
            return None
        return Record(self, at, size, encoding, items, checksum)


def _checksum(body: bytes, encoding: int, items: int) -> int:
    return zlib.crc32(body, encoding << 24 ^ items)


def _seal(encoding: int, items: int, size: int, checksum: int) -> int:
    """What a head says, in 16 bits; but for the state, which changes."""
    return zlib.crc32(struct.pack("<BIII", encoding, items, size, checksum)) & 0xFFFF


def _next_mark(path: Path, at: int, end: int) -> int:
    """Where the next record may begin, or the end of the file."""
    with path.open("rb") as file:
        file.seek(at)
        while chunk := file.read(_CHUNK):
            found = chunk.find(_MARK)
            if found >= 0:
                return at + found
            if len(chunk) < _CHUNK:
                break
            at += len(chunk) - len(_MARK) + 1
            file.seek(at)
    return end


def _about(file: BinaryIO) -> bytes | None:
    """The description at the beginning of a segment, unless it is damaged."""
    head = file.read(_HEAD.size)
    magic, length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
    about = file.read(length) if magic == _MAGIC and length <= _CHUNK else b""
    return about if about and zlib.crc32(about) == checksum else None


def describe(path: Path) -> Destination | None:
    """The destination a segment is bound to; ``None`` when the file does not say."""
    try:
        with path.open("rb") as file:
            told = json.loads(_about(file) or b"{}")
        return Destination(**{name: str(told[name]) for name in Destination.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
