"""Damaged records and segments of dead processes."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import pytest

from llmtrace.export.spool import segment as segments
from llmtrace.export.spool.segment import Record, Segment
from llmtrace.export.stats import read_losses

from .spools import HERE, adopt_all, new_spool, payload, write_dead

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts descriptors")


def record_starts(data: bytes) -> list[int]:
    starts, at = [], -1
    while (at := data.find(segments._MARK, at + 1)) >= 0:
        starts.append(at)
    return starts


HEAD_BYTES = segments._SIZES[segments._SECOND]


@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("at", range(HEAD_BYTES))
def test_flipped_bit_of_a_record_is_reported_or_harmless(at: int, bit: int, tmp_path: Path) -> None:
    """Every bit of a head, its state included: the record arrives once, or is counted; its neighbours arrive."""
    path = write_dead(tmp_path, payload("one"), payload("two", 7), payload("three"))
    data = bytearray(path.read_bytes())
    data[record_starts(data)[1] + at] ^= 1 << bit
    path.write_bytes(data)
    bodies, dropped = adopt_all(tmp_path)
    # Where the counts themselves are damaged one is reported; elsewhere the body's checksum vouches for the count.
    if at >= segments._SECOND.layout.size + 4:
        assert (bodies, dropped) == (["one", "two", "three"], {})
    else:
        assert (bodies, dropped["corrupt"] in (1, 7)) == (["one", "three"], True)


@pytest.mark.parametrize("bit", range(32))
def test_flipped_state_sends_nothing_twice(bit: int, tmp_path: Path) -> None:
    """A record that was sent stays sent, whichever bit of its state flips."""
    path = write_dead(tmp_path, payload("sent"), payload("waits"))
    segment, (first, _) = Segment.read(path)
    segment.mark_done(first)
    segment.close()
    data = bytearray(path.read_bytes())
    data[record_starts(data)[0] + segments._SECOND.state_at + bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    assert adopt_all(tmp_path) == (["waits"], {})


def test_state_that_is_neither_is_lost_and_counted(tmp_path: Path) -> None:
    """Half the bits flipped: whether it was sent is not known, so it is counted and not sent again."""
    path = write_dead(tmp_path, payload("unclear", 3), payload("waits"))
    data = bytearray(path.read_bytes())
    at = record_starts(data)[0] + segments._SECOND.state_at
    data[at : at + 2] = b"\xff\xff"
    path.write_bytes(data)
    assert adopt_all(tmp_path) == (["waits"], {"corrupt": 3})


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_record_without_its_end_is_counted(cut: int, tmp_path: Path) -> None:
    """Requests cut off at the end of a file are counted by the number in their head."""
    path = write_dead(tmp_path, payload("whole"), payload("cut off before its end", 4))
    path.write_bytes(path.read_bytes()[:-cut])
    assert adopt_all(tmp_path) == (["whole"], {"corrupt": 4})


@pytest.mark.parametrize("at", [0, 7, 9, 13, 20])
def test_damaged_description_costs_no_record(at: int, tmp_path: Path) -> None:
    """The records of a segment whose head is damaged are checked by themselves, and sent."""
    path = write_dead(tmp_path, payload("one"), payload("two"))
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    assert adopt_all(tmp_path) == (["one", "two"], {})


def test_damage_is_reported_once_however_often_it_is_adopted(tmp_path: Path) -> None:
    """A process that cannot send what it adopted leaves it to the next, which does not report the loss again."""
    path = write_dead(tmp_path, payload("one"), payload("two"), payload("three"))
    data = bytearray(path.read_bytes())
    data[record_starts(data)[1]] ^= 1
    path.write_bytes(data)
    for _ in range(3):
        spool, stats = new_spool(tmp_path)
        assert spool.adopt()
        spool.close()
        stats.log_losses(now=True)
    assert read_losses(tmp_path) == {"corrupt": 1}
    assert adopt_all(tmp_path) == (["one", "three"], {})


def first_release(path: Path, *bodies: bytes, done: int = -1) -> None:
    """Write a segment in the format of the first release."""
    about = b'{"signal": "traces", "protocol": "http", "endpoint": "http://a/v1/traces", "sender": "0"}'
    data = b"LLMSPL01" + struct.pack("<II", len(about), zlib.crc32(about)) + about
    for number, body in enumerate(bodies):
        checksum = zlib.crc32(body, 0 << 24 ^ 1)
        seal = zlib.crc32(struct.pack("<BIII", 0, 1, len(body), checksum)) & 0xFFFF
        data += struct.pack("<4sBBHIII", b"\xf1REC", number == done, 0, seal, 1, len(body), checksum) + body
    path.write_bytes(data)


def test_segments_of_the_first_release_are_read(tmp_path: Path) -> None:
    """Their records are sent, marked in their own format, and damage to them is counted."""
    path = write_dead(tmp_path, payload("x"))
    first_release(path, b"one", b"two", b"three", b"four", done=1)
    assert segments.describe(path) == HERE
    data = bytearray(path.read_bytes())
    data[record_starts(data)[2] + 4] ^= 2  # a state that is neither
    path.write_bytes(data)
    spool, _ = new_spool(tmp_path)
    assert spool.adopt()
    entry = spool.first()
    assert isinstance(entry, Record)
    spool.done(entry)
    spool.close()
    assert adopt_all(tmp_path)[0] == ["four"]
    assert not list(tmp_path.rglob("*.seg"))
