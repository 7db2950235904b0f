"""Which commit a file's content belongs to, read from the repository's own files: no ``git`` is run or needed.

Only what is certain is told. A file that differs from the one in the commit, a repository of another object format, a
damaged pack: all of these are "not known".
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha1
from pathlib import Path

__all__ = ["FileHistory", "look_up"]

_OBJECT = re.compile(r"[0-9a-f]{40}")
_MAX_OBJECT_BYTES = 64 * 1024 * 1024
_KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}


class FileHistory:
    """What is known of one file."""

    __slots__ = ("commit", "tags")

    def __init__(self, commit: str | None = None, tags: tuple[str, ...] = ()) -> None:
        self.commit = commit
        """The commit that is checked out, if it holds this very content."""
        self.tags = tags
        """The tags, of those asked for, whose commits hold this very content."""


_NO_HISTORY = FileHistory()


def look_up(path: Path, data: bytes, tag_prefixes: tuple[str, ...] = ()) -> FileHistory:
    """What the repository around ``path`` knows of the file, of which ``data`` are the bytes."""
    try:
        path = path.resolve()
        root = next((folder for folder in path.parents if (folder / ".git").exists()), None)
        if root is None:
            return _NO_HISTORY
        folder, common = _folders(root / ".git")
        names = path.relative_to(root).parts
        blob = sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        head = _head(folder, common)
        tags = tuple(sorted(_tags(common, tag_prefixes))) if tag_prefixes else ()
        return _search(common, head, names, blob, tags)
    except Exception:  # whatever is wrong with a repository, the prompt itself has been read
        return _NO_HISTORY


@lru_cache(maxsize=512)
def _search(
    common: Path, head: str | None, names: tuple[str, ...], blob: str, tags: tuple[tuple[str, str], ...]
) -> FileHistory:
    # All that the answer rests on is in the arguments, since objects never change.
    store = _ObjectReader(common / "objects")
    committed = head is not None and store.file_in(head, names) == blob
    return FileHistory(
        head if committed else None, tuple(name for name, at in tags if store.file_in(at, names) == blob)
    )


def _folders(git: Path) -> tuple[Path, Path]:
    """The folder of this work tree's state, and the one that all work trees share."""
    if git.is_file():  # a linked work tree or a submodule
        told = git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        git = (git.parent / told).resolve()
    common = git / "commondir"
    return git, (git / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else git


def _head(folder: Path, common: Path) -> str | None:
    told = (folder / "HEAD").read_text(encoding="utf-8").strip()
    for _ in range(5):
        if not told.startswith("ref:"):
            return told if _OBJECT.fullmatch(told) else None
        name = told[4:].strip()
        told = _ref(folder, common, name) or ""
    return None


def _ref(folder: Path, common: Path, name: str) -> str | None:
    for place in (folder, common):
        loose = place / name
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
    return dict(_packed(common)).get(name)


def _packed(common: Path) -> Iterator[tuple[str, str]]:
    path = common / "packed-refs"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            at, _, name = line.partition(" ")
            if _OBJECT.fullmatch(at):
                yield name, at


def _tags(common: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    start = "refs/tags/"
    found = {name[len(start) :]: at for name, at in _packed(common) if name.startswith(start)}
    folder = common / "refs" / "tags"
    for path in folder.rglob("*"):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8").strip()
    return ((name, at) for name, at in found.items() if name.startswith(prefixes))


class _ObjectReader:
    """The objects of a repository, loose or in packs."""

    def __init__(self, folder: Path) -> None:
        self._folders = [folder]
        alternates = folder / "info" / "alternates"
        if alternates.is_file():
            self._folders += [folder / line for line in alternates.read_text(encoding="utf-8").splitlines() if line]

    def file_in(self, at: str, names: tuple[str, ...]) -> str | None:
        """The id of the file ``names`` in a commit, or in the commit that a tag points to."""
        kind, data = self.read(at)
        for _ in range(5):
            if kind != b"tag":
                break
            kind, data = self.read(data[7:47].decode())
        if kind != b"commit" or not data.startswith(b"tree "):
            return None
        found: str | None = data[5:45].decode()
        for name in names:
            if found is None:
                return None
            kind, tree = self.read(found)
            found = dict(_entries(tree)).get(name.encode()) if kind == b"tree" else None
        return found

    def read(self, at: str, depth: int = 0) -> tuple[bytes, bytes]:
        for folder in self._folders:
            loose = folder / at[:2] / at[2:]
            if loose.is_file():
                head, _, data = _inflate(loose.read_bytes()).partition(b"\0")
                return head.partition(b" ")[0], data
            for index in (folder / "pack").glob("*.idx"):
                offset = _offset(index, at)
                if offset is not None:
                    with _mapped(index.with_suffix(".pack")) as pack:
                        return self._packed(pack, offset, depth)
        raise KeyError(at)

    def _packed(self, pack: mmap.mmap, offset: int, depth: int) -> tuple[bytes, bytes]:
        """https://git-scm.com/docs/pack-format"""
        start = offset
        byte = pack[offset]
        kind, offset = byte >> 4 & 7, offset + 1
        while byte & 0x80:
            byte, offset = pack[offset], offset + 1
        if kind in _KINDS:
            return _KINDS[kind], _inflate(pack, offset)
        if depth > 64:
            raise ValueError("a chain of deltas without end")
        if kind == 6:
            byte, offset = pack[offset], offset + 1
            back = byte & 0x7F
            while byte & 0x80:
                byte, offset = pack[offset], offset + 1
                back = ((back + 1) << 7) | (byte & 0x7F)
            found, base = self._packed(pack, start - back, depth + 1)
        elif kind == 7:
            found, base = self.read(pack[offset : offset + 20].hex(), depth + 1)
            offset += 20
        else:
            raise ValueError(f"an object of kind {kind}")
        return found, _apply_delta(base, _inflate(pack, offset))


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _inflate(data: bytes | mmap.mmap, offset: int = 0) -> bytes:
    engine = zlib.decompressobj()
    found = bytearray()
    while not engine.eof and offset < len(data):
        found += engine.decompress(data[offset : offset + 65536], _MAX_OBJECT_BYTES - len(found))
        offset += 65536
        if len(found) >= _MAX_OBJECT_BYTES:
            raise ValueError("an object too large to be a prompt")
    return bytes(found)


def _apply_delta(base: bytes, delta: bytes) -> bytes:
    _, at = _size(delta, 0)
    _, at = _size(delta, at)
    found = bytearray()
    while at < len(delta):
        order, at = delta[at], at + 1
        if not order & 0x80:
            found += delta[at : at + order]
            at += order
            continue
        start = length = 0
        for bit in range(4):
            if order & 1 << bit:
                start, at = start | delta[at] << 8 * bit, at + 1
        for bit in range(3):
            if order & 0x10 << bit:
                length, at = length | delta[at] << 8 * bit, at + 1
        length = length or 0x10000
        found += base[start : start + length]
        if len(found) > _MAX_OBJECT_BYTES:
            raise ValueError("an object too large to be a prompt")
    return bytes(found)


def _size(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _entries(tree: bytes) -> Iterator[tuple[bytes, str]]:
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        yield tree[at:end].partition(b" ")[2], tree[end + 1 : end + 21].hex()
        at = end + 21


def _offset(index: Path, at: str) -> int | None:
    """Where an object is in the pack of ``index``."""
    wanted = bytes.fromhex(at)
    with _mapped(index) as data:
        if data[:8] != b"\xfftOc\0\0\0\2":
            return None

        def number(place: int) -> int:
            found: int = struct.unpack_from(">I", data, place)[0]
            return found

        fan = 8
        low = number(fan + 4 * (wanted[0] - 1)) if wanted[0] else 0
        high, total = number(fan + 4 * wanted[0]), number(fan + 4 * 255)
        names = fan + 1024
        while low < high:
            middle = (low + high) // 2
            name = data[names + 20 * middle : names + 20 * middle + 20]
            if name == wanted:
                offset = number(names + 24 * total + 4 * middle)
                if not offset & 0x80000000:
                    return offset
                large = names + 28 * total + 8 * (offset & 0x7FFFFFFF)
                found: int = struct.unpack_from(">Q", data, large)[0]
                return found
            if name < wanted:
                low = middle + 1
            else:
                high = middle
    return None
