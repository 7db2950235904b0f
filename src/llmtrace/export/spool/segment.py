"""The file format of the spool: a description, then checksummed records, each marked in place when it is done with.

Two formats are read. In the second, the one that is written, a checksum covers every field of a head, and the state is
a word of four bytes whose two values differ in every bit: no flipped bit makes a finished record look unsent.
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

__all__ = ["Record", "Segment", "describe"]

_HEAD = struct.Struct("<8sII")  # magic, length of the description, its checksum
_MAGICS = (b"LLMSPL01", b"LLMSPL02")
_MARK = b"\xf1REC"
_CHUNK = 1 << 20
_LOST = ".lost"


@dataclass(frozen=True, slots=True)
class _Head:
    """The fields of a record's head."""

    encoding: int
    items: int
    size: int
    checksum: int
    sound: bool
    """True when the head is as it was written."""
    state: Literal["pending", "done", "damaged"]


class _First:
    """The format of segments that the first release wrote."""

    layout = struct.Struct("<4sBBHIII")  # mark, state, encoding, 16 bits of checksum, items, length, body's checksum
    state_at = 4
    done = b"\1"

    def read(self, head: bytes) -> _Head:
        mark, state, encoding, sealed, items, size, checksum = self.layout.unpack(head)
        covered = struct.pack("<BIII", encoding, items, size, checksum)
        sound = mark == _MARK and sealed == zlib.crc32(covered) & 0xFFFF
        return _Head(
            encoding, items, size, checksum, sound, "pending" if state == 0 else "done" if state == 1 else "damaged"
        )


class _Second:
    """The format of segments that are written now."""

    layout = struct.Struct("<4sB3xIII")  # mark, encoding, items, length, checksum of the body
    tail = struct.Struct("<I4s")  # checksum of all that, state
    state_at = layout.size + 4
    done = b"\xff" * 4
    _pending = bytes(4)
    _most_flipped = 8

    def read(self, head: bytes) -> _Head:
        fields = head[: self.layout.size]
        mark, encoding, items, size, checksum = self.layout.unpack(fields)
        seal, state = self.tail.unpack(head[self.layout.size :])
        sound = mark == _MARK and seal == zlib.crc32(fields)
        ones = int.from_bytes(state, "little").bit_count()
        if ones <= self._most_flipped:
            return _Head(encoding, items, size, checksum, sound, "pending")
        done = ones >= 8 * len(self.done) - self._most_flipped
        return _Head(encoding, items, size, checksum, sound, "done" if done else "damaged")

    def write(self, encoding: int, items: int, size: int, checksum: int) -> bytes:
        fields = self.layout.pack(_MARK, encoding, items, size, checksum)
        return fields + self.tail.pack(zlib.crc32(fields), self._pending)


_FIRST, _SECOND = _First(), _Second()
_SIZES = {_FIRST: _First.layout.size, _SECOND: _Second.layout.size + _Second.tail.size}
_Format = _First | _Second


@dataclass(eq=False, slots=True)
class Record:
    """One request waiting in a segment."""

    segment: Segment
    offset: int
    format: _Format
    size: int
    encoding: int
    items: int
    checksum: int

    def load(self) -> Payload | None:
        """The request, or ``None`` when its bytes are no longer those that were written.

        Raises:
            FileNotFoundError: The segment was removed.
            OSError: It cannot be read now, for one without a descriptor left; it may be later.
        """
        body = self.segment.read_at(self.offset + _SIZES[self.format], self.size)
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
    lost: int = 0
    """At least so many are lost where the file is damaged: one where a damaged place does not say how many it held."""
    _growing: Descriptor | None = field(default=None, repr=False)
    _reading: Descriptor | None = field(default=None, repr=False)
    """Kept from reading a request until it is marked: marking must not fail for want of a descriptor."""

    @classmethod
    def create(cls, path: Path, destination: Destination) -> Segment:
        segment = cls(path, _growing=Descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        about = json.dumps(asdict(destination)).encode()
        try:
            segment._write(_HEAD.pack(_MAGICS[-1], len(about), zlib.crc32(about)) + about)
        except OSError:
            segment.remove()
            raise
        return segment

    @property
    def open(self) -> bool:
        """True while records may be appended."""
        return self._growing is not None

    def append(self, payload: Payload) -> Record:
        """Write a record at the end.

        Raises:
            FileNotFoundError: The file was removed.
            OSError: It could not be written whole; the file is as it was. ``EBADF``: its descriptor was closed.
        """
        encoding = ENCODINGS.index(payload.encoding)
        checksum = _checksum(payload.body, encoding, payload.items)
        record = Record(self, self.size, _SECOND, len(payload.body), encoding, payload.items, checksum)
        self._write(_SECOND.write(encoding, payload.items, len(payload.body), checksum) + payload.body)
        self.pending += 1
        self.items += payload.items
        return record

    def _write(self, data: bytes) -> None:
        if self._growing is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        number = self._growing.number()
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
        """Read a part of the file, less of it where the file ends earlier; it stays open until ``end_reading``."""
        number = self._reader()
        os.lseek(number, offset, os.SEEK_SET)
        body = bytearray()
        while len(body) < size and (piece := os.read(number, size - len(body))):
            body += piece
        return bytes(body)

    def _reader(self) -> int:
        if self._reading is not None:
            try:
                return self._reading.number()
            except OSError:  # closed behind our back
                self._reading = None
        self._reading = Descriptor(self.path, os.O_RDWR)
        return self._reading.number()

    def end_reading(self) -> None:
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def mark_done(self, record: Record) -> None:
        """A few bytes in place: the only write between a backend's acknowledgement and our memory of it."""
        self.pending -= 1
        self.items -= record.items
        number = self._reader()
        os.lseek(number, record.offset + record.format.state_at, os.SEEK_SET)
        os.write(number, record.format.done)

    def close(self) -> None:
        if self._growing is not None:
            self._growing.close()
            self._growing = None
        self.end_reading()

    def remove(self) -> None:
        self.close()
        self.path.unlink(missing_ok=True)

    def unreported(self) -> int:
        """How many of ``lost`` no process has reported yet; the name of the file remembers it."""
        _, _, reported = self.path.stem.partition(_LOST)
        return max(0, self.lost - (int(reported) if reported.isdecimal() else 0))

    def mark_reported(self) -> None:
        name, _, _ = self.path.stem.partition(_LOST)
        self.path = self.path.rename(self.path.with_name(f"{name}{_LOST}{self.lost}{self.path.suffix}"))

    @classmethod
    def read(cls, path: Path) -> tuple[Segment, list[Record]]:
        """What a process left behind. Damage ends a record, not the reading.

        Raises:
            OSError: The file cannot be read now.
        """
        with path.open("rb") as file:
            segment = cls(path, size=os.fstat(file.fileno()).st_size)
            records = list(_Reading(segment, file).records())
        segment.pending = len(records)
        segment.items = sum(record.items for record in records)
        return segment, records


class _Reading:
    """Reads the records of one segment, and counts what its damaged places have lost."""

    def __init__(self, segment: Segment, file: BinaryIO) -> None:
        self._segment = segment
        self._file = file
        self._size = segment.size

    def records(self) -> Iterator[Record]:
        """The records that wait."""
        version, about = _about(self._file)
        at = _HEAD.size + len(about)
        if version is None:  # the records themselves are checked: they may be sound
            at = self._next_mark(0)
            self._segment.lost += at >= self._size > 0
        formats: tuple[_Format, ...] = (_SECOND, _FIRST) if version is None else ((_FIRST, _SECOND)[version],)
        while at < self._size:
            for form in formats:
                head = self._head(at, form)
                if head is not None and head.sound and self._fits(at, head, form):
                    break
            else:
                lost, at = self._damaged(at, formats[0])
                self._segment.lost += lost
                continue
            formats = (form,)
            if head.state == "pending":
                yield Record(self._segment, at, form, head.size, head.encoding, head.items, head.checksum)
            elif head.state == "damaged":  # it may have been sent: not once more
                self._segment.lost += head.items
            at += _SIZES[form] + head.size

    def _head(self, at: int, form: _Format) -> _Head | None:
        self._file.seek(at)
        head = self._file.read(_SIZES[form])
        return form.read(head) if len(head) == _SIZES[form] else None

    def _fits(self, at: int, head: _Head, form: _Format) -> bool:
        return head.encoding < len(ENCODINGS) and at + _SIZES[form] + head.size <= self._size

    def _damaged(self, at: int, form: _Format) -> tuple[int, int]:
        """How many spans and the like a damaged record held, one when it does not say; and where the next begins."""
        head = self._head(at, form)
        if head is not None and self._fits(at, head, form):
            self._file.seek(at + _SIZES[form])
            if _checksum(self._file.read(head.size), head.encoding, head.items) == head.checksum:
                return 0 if head.state == "done" else head.items, at + _SIZES[form] + head.size
        following = self._next_mark(at + 1)
        if head is None:
            return 1, following
        if head.sound:  # its end is missing
            return 0 if head.state == "done" else max(1, head.items), following
        return 0 if head.state == "done" else 1, following

    def _next_mark(self, at: int) -> int:
        """Where the next record may begin, or the end of the file."""
        self._file.seek(at)
        while chunk := self._file.read(_CHUNK):
            found = chunk.find(_MARK)
            if found >= 0:
                return at + found
            if len(chunk) < _CHUNK:
                break
            at += len(chunk) - len(_MARK) + 1
            self._file.seek(at)
        return self._size


def _checksum(body: bytes, encoding: int, items: int) -> int:
    return zlib.crc32(body, encoding << 24 ^ items) & 0xFFFFFFFF


def _about(file: BinaryIO) -> tuple[int | None, bytes]:
    """The version of a segment, from 0, and the description at its beginning; no version when they are damaged."""
    head = file.read(_HEAD.size)
    magic, length, checksum = _HEAD.unpack(head) if len(head) == _HEAD.size else (b"", 0, 0)
    about = file.read(length) if magic in _MAGICS and length <= _CHUNK else b""
    return (_MAGICS.index(magic), about) if about and zlib.crc32(about) == checksum else (None, b"")


def describe(path: Path) -> Destination | None:
    """The destination a segment is bound to; ``None`` when the file does not say."""
    try:
        with path.open("rb") as file:
            described = json.loads(_about(file)[1] or b"{}")
        return Destination(**{name: str(described[name]) for name in Destination.__dataclass_fields__})
    except (OSError, ValueError, KeyError, TypeError):
        return None
