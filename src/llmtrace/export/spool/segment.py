"""File format of the spool: a description, then checksummed records, each marked in place when it is done.

Two formats are read, and the second is written. In it a checksum covers every field of a record's head. The state is a
word of four bytes whose two values differ in every bit, so that no flipped bit makes a finished record look unsent.
"""

from __future__ import annotations

import errno
import json
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

from ..._files import Descriptor
from ..otlp.destination import Destination
from ..otlp.payload import ENCODINGS, Payload

_HEAD = struct.Struct("<8sII")  # magic, length of the description, its checksum
_MAGICS = (b"LLMSPL01", b"LLMSPL02")
_MARK = b"\xf1REC"
_CHUNK = 1 << 20
_LOST_SUFFIX = ".lost"


@dataclass(frozen=True, slots=True)
class _Head:
    """The fields of a record's head."""

    encoding: int
    items: int
    size: int
    checksum: int
    intact: bool
    """True if the head matches its checksum."""
    state: Literal["pending", "done", "damaged"]


class _FormatV1:
    """The format of segments that the first release wrote."""

    # Mark, state, encoding, 16 bits of checksum, items, length, checksum of the body.
    layout: struct.Struct = struct.Struct("<4sBBHIII")
    state_at: int = 4
    done: bytes = b"\1"

    def read(self, head: bytes) -> _Head:
        """Parse a head."""
        mark, state, encoding, head_checksum, items, size, checksum = self.layout.unpack(head)
        covered = struct.pack("<BIII", encoding, items, size, checksum)
        intact = mark == _MARK and head_checksum == zlib.crc32(covered) & 0xFFFF
        return _Head(
            encoding, items, size, checksum, intact, "pending" if state == 0 else "done" if state == 1 else "damaged"
        )


class _FormatV2:
    """The format of segments that this release writes."""

    layout: struct.Struct = struct.Struct("<4sB3xIII")  # mark, encoding, items, length, checksum of the body
    tail: struct.Struct = struct.Struct("<I4s")  # checksum of the fields above, state
    state_at: int = layout.size + 4
    done: bytes = b"\xff" * 4
    _pending = bytes(4)
    _MAX_FLIPPED_BITS = 8

    def read(self, head: bytes) -> _Head:
        """Parse a head. Up to eight flipped bits of the state are tolerated."""
        fields = head[: self.layout.size]
        mark, encoding, items, size, checksum = self.layout.unpack(fields)
        head_checksum, state = self.tail.unpack(head[self.layout.size :])
        intact = mark == _MARK and head_checksum == zlib.crc32(fields)
        ones = int.from_bytes(state, "little").bit_count()
        if ones <= self._MAX_FLIPPED_BITS:
            return _Head(encoding, items, size, checksum, intact, "pending")
        done = ones >= 8 * len(self.done) - self._MAX_FLIPPED_BITS
        return _Head(encoding, items, size, checksum, intact, "done" if done else "damaged")

    def write(self, encoding: int, items: int, size: int, checksum: int) -> bytes:
        """Return the head of a pending record."""
        fields = self.layout.pack(_MARK, encoding, items, size, checksum)
        return fields + self.tail.pack(zlib.crc32(fields), self._pending)


_FIRST, _SECOND = _FormatV1(), _FormatV2()
_SIZES = {_FIRST: _FormatV1.layout.size, _SECOND: _FormatV2.layout.size + _FormatV2.tail.size}
_Format = _FormatV1 | _FormatV2


@dataclass(eq=False, slots=True)
class Record:
    """One queued request in a segment."""

    segment: Segment
    offset: int
    format: _Format
    size: int
    encoding: int
    items: int
    checksum: int

    def load(self) -> Payload | None:
        """Return the request, or ``None`` if its bytes do not match their checksum.

        Raises:
            FileNotFoundError: The segment was removed.
            OSError: The segment cannot be read now, such as with no descriptor left, but perhaps later.
        """
        body = self.segment.read_at(self.offset + _SIZES[self.format], self.size)
        if _checksum(body, self.encoding, self.items) != self.checksum:
            return None
        return Payload(body, ENCODINGS[self.encoding], self.items)


@dataclass(eq=False, slots=True)
class Segment:
    """One file of the spool. Only the process that holds the lock of its directory writes to it."""

    path: Path
    size: int = 0
    pending: int = 0
    """Number of records that are not done."""
    items: int = 0
    """Number of spans, data points, log records or scores in the pending records."""
    lost: int = 0
    """Minimum number of items lost to damage: one for each damaged record whose count is unreadable."""
    _append_descriptor: Descriptor | None = field(default=None, repr=False)
    _read_descriptor: Descriptor | None = field(default=None, repr=False)
    """Descriptor that stays open from reading a request until it is marked, so that marking needs no new one."""

    @classmethod
    def create(cls, path: Path, destination: Destination) -> Segment:
        """Create a segment that is bound to ``destination``.

        Raises:
            OSError: The file exists or cannot be written.
        """
        segment = cls(path, _append_descriptor=Descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        description = json.dumps(asdict(destination)).encode()
        try:
            segment._write(_HEAD.pack(_MAGICS[-1], len(description), zlib.crc32(description)) + description)
        except OSError:
            segment.remove()
            raise
        return segment

    @property
    def open(self) -> bool:
        """True if records may be appended."""
        return self._append_descriptor is not None

    def append(self, payload: Payload) -> Record:
        """Write a record at the end.

        Raises:
            FileNotFoundError: The file was removed.
            OSError: The record could not be written, and the file is unchanged. ``EBADF``: the descriptor was closed.
        """
        encoding = ENCODINGS.index(payload.encoding)
        checksum = _checksum(payload.body, encoding, payload.items)
        record = Record(self, self.size, _SECOND, len(payload.body), encoding, payload.items, checksum)
        self._write(_SECOND.write(encoding, payload.items, len(payload.body), checksum) + payload.body)
        self.pending += 1
        self.items += payload.items
        return record

    def _write(self, data: bytes) -> None:
        if self._append_descriptor is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        number = self._append_descriptor.number()
        if os.fstat(number).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, "removed while in use", str(self.path))
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(number, rest) :]
        except OSError:
            os.ftruncate(number, self.size)
            os.lseek(number, self.size, os.SEEK_SET)
            raise
        self.size += len(data)

    def read_at(self, offset: int, size: int) -> bytes:
        """Read up to ``size`` bytes from ``offset``. The file stays open until ``end_reading``."""
        number = self._reader_number()
        os.lseek(number, offset, os.SEEK_SET)
        body = bytearray()
        while len(body) < size and (chunk := os.read(number, size - len(body))):
            body += chunk
        return bytes(body)

    def _reader_number(self) -> int:
        if self._read_descriptor is None or not self._read_descriptor.is_open:  # the program may have closed it
            self._read_descriptor = Descriptor(self.path, os.O_RDWR)
        return self._read_descriptor.number()

    def end_reading(self) -> None:
        """Close the descriptor for reading."""
        if self._read_descriptor is not None:
            self._read_descriptor.close()
            self._read_descriptor = None

    def mark_done(self, record: Record) -> None:
        """Mark a record as done, with one write of a few bytes in place."""
        self.pending -= 1
        self.items -= record.items
        number = self._reader_number()
        os.lseek(number, record.offset + record.format.state_at, os.SEEK_SET)
        os.write(number, record.format.done)

    def close(self) -> None:
        """Close the file. No more records can be appended."""
        if self._append_descriptor is not None:
            self._append_descriptor.close()
            self._append_descriptor = None
        self.end_reading()

    def remove(self) -> None:
        """Close and delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)

    def unreported(self) -> int:
        """Return the part of ``lost`` that is not reported yet; the file name stores the reported number."""
        _, _, reported = self.path.stem.partition(_LOST_SUFFIX)
        return max(0, self.lost - (int(reported) if reported.isdecimal() else 0))

    def mark_reported(self) -> None:
        """Store ``lost`` in the file name, so that no process reports it again."""
        name, _, _ = self.path.stem.partition(_LOST_SUFFIX)
        self.path = self.path.rename(self.path.with_name(f"{name}{_LOST_SUFFIX}{self.lost}{self.path.suffix}"))

    @classmethod
    def read(cls, path: Path) -> tuple[Segment, list[Record]]:
        """Read the pending records of a file, skipping damaged ones.

        Raises:
            OSError: The file cannot be read now.
        """
        with path.open("rb") as file:
            segment = cls(path, size=os.fstat(file.fileno()).st_size)
            records = list(_SegmentReader(segment, file).records())
        segment.pending = len(records)
        segment.items = sum(record.items for record in records)
        return segment, records


class _SegmentReader:
    """A reader of one segment, which counts the items of damaged records as lost."""

    def __init__(self, segment: Segment, file: BinaryIO) -> None:
        self._segment = segment
        self._file = file
        self._size = segment.size

    def records(self) -> Iterator[Record]:
        """Yield the pending records."""
        version, description = _read_description(self._file)
        offset = _HEAD.size + len(description)
        if version is None:  # try the records: each has its own checksum
            offset = self._next_mark(0)
            self._segment.lost += offset >= self._size > 0
        formats: tuple[_Format, ...] = (_SECOND, _FIRST) if version is None else ((_FIRST, _SECOND)[version],)
        while offset < self._size:
            for record_format in formats:
                head = self._head(offset, record_format)
                if head is not None and head.intact and self._fits(offset, head, record_format):
                    break
            else:
                lost, offset = self._skip_damaged(offset, formats[0])
                self._segment.lost += lost
                continue
            formats = (record_format,)
            if head.state == "pending":
                yield Record(self._segment, offset, record_format, head.size, head.encoding, head.items, head.checksum)
            elif head.state == "damaged":  # drop it, because it may have been sent
                self._segment.lost += head.items
            offset += _SIZES[record_format] + head.size

    def _head(self, offset: int, record_format: _Format) -> _Head | None:
        self._file.seek(offset)
        head = self._file.read(_SIZES[record_format])
        return record_format.read(head) if len(head) == _SIZES[record_format] else None

    def _fits(self, offset: int, head: _Head, record_format: _Format) -> bool:
        return head.encoding < len(ENCODINGS) and offset + _SIZES[record_format] + head.size <= self._size

    def _skip_damaged(self, offset: int, record_format: _Format) -> tuple[int, int]:
        """Return the number of lost items, one if unreadable, and the offset of the next record."""
        head = self._head(offset, record_format)
        if head is not None and self._fits(offset, head, record_format):
            self._file.seek(offset + _SIZES[record_format])
            if _checksum(self._file.read(head.size), head.encoding, head.items) == head.checksum:
                return 0 if head.state == "done" else head.items, offset + _SIZES[record_format] + head.size
        following = self._next_mark(offset + 1)
        if head is None:
            return 1, following
        if head.intact:  # the record is cut off
            return 0 if head.state == "done" else max(1, head.items), following
        return 0 if head.state == "done" else 1, following

    def _next_mark(self, offset: int) -> int:
        """Return the offset of the next possible record, or the end of the file."""
        self._file.seek(offset)
        while chunk := self._file.read(_CHUNK):
            index = chunk.find(_MARK)
            if index >= 0:
                return offset + index
            if len(chunk) < _CHUNK:
                break
            offset += len(chunk) - len(_MARK) + 1
            self._file.seek(offset)
        return self._size


def _checksum(body: bytes, encoding: int, items: int) -> int:
    return zlib.crc32(body, encoding << 24 ^ items) & 0xFFFFFFFF


def _read_description(file: BinaryIO) -> tuple[int | None, bytes]:
    """Return the version of a segment, from 0, and its description; no version if they are damaged."""
    head = file.read(_HEAD.size)
    magic, length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
    description = file.read(length) if magic in _MAGICS and length <= _CHUNK else b""
    return (_MAGICS.index(magic), description) if description and zlib.crc32(description) == checksum else (None, b"")


def describe(path: Path) -> Destination | None:
    """Return the destination that a segment is bound to; ``None`` if it cannot be read."""
    try:
        with path.open("rb") as file:
            described = json.loads(_read_description(file)[1] or b"{}")
        return Destination(**{name: str(described[name]) for name in Destination.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
