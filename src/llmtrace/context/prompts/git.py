"""Reader of Git repositories: the commit and tags that contain a file. No ``git`` program is run or needed.

Only certain results are returned. There is no result for a file that differs from the committed one, for another
object format than SHA-1, or for a damaged pack.
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from pathlib import Path

__all__ = ["FileHistory", "look_up"]

_OBJECT_ID = re.compile(r"[0-9a-f]{40}")
_MAX_OBJECT_BYTES = 64 * 1024 * 1024
_OBJECT_TYPES = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_OFFSET_DELTA, _REFERENCE_DELTA = 6, 7
_MAX_REFERENCES = 5
"""Maximum references followed, such as from HEAD to a branch or from a tag to a commit."""
_MAX_DELTAS = 64


@dataclass(frozen=True, slots=True)
class FileHistory:
    """The commit and the tags that contain one file with its current content."""

    commit: str | None = None
    """Id of the checked-out commit, if it contains the file with this content."""
    tags: tuple[str, ...] = ()
    """Names of the requested tags whose commits contain the file with this content."""


_NO_HISTORY = FileHistory()


def look_up(path: Path, data: bytes, tag_prefixes: tuple[str, ...] = ()) -> FileHistory:
    """Return the commit and tags that contain the file ``path`` with the content ``data``.

    Args:
        path: The path of the file.
        data: Its bytes.
        tag_prefixes: Beginnings of the names of the tags to look at.

    Returns:
        The history, empty if the file is in no repository or the repository cannot be read. Never raises.
    """
    try:
        path = path.resolve()
        root = next((folder for folder in path.parents if (folder / ".git").exists()), None)
        if root is None:
            return _NO_HISTORY
        folder, common = _folders(root / ".git")
        names = path.relative_to(root).parts
        blob = sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        head = _head_commit(folder, common)
        tags = tuple(sorted(_tags(common, tag_prefixes))) if tag_prefixes else ()
        return _search(common, head, names, blob, tags)
    except Exception:  # a prompt is usable without its history
        return _NO_HISTORY


@lru_cache(maxsize=512)
def _search(
    common: Path, head: str | None, names: tuple[str, ...], blob: str, tags: tuple[tuple[str, str], ...]
) -> FileHistory:
    # Cache by the arguments alone: objects never change, so they determine the result.
    reader = _ObjectReader(common / "objects")
    committed = head is not None and reader.file_in(head, names) == blob
    tag_names = tuple(name for name, object_id in tags if reader.file_in(object_id, names) == blob)
    return FileHistory(head if committed else None, tag_names)


def _folders(git: Path) -> tuple[Path, Path]:
    """Return the Git folder of this work tree, and the one that all work trees share."""
    if git.is_file():  # a linked work tree or a submodule
        target = git.read_text(encoding="utf-8").partition("gitdir:")[2].strip()
        git = (git.parent / target).resolve()
    common = git / "commondir"
    return git, (git / common.read_text(encoding="utf-8").strip()).resolve() if common.is_file() else git


def _head_commit(folder: Path, common: Path) -> str | None:
    value = (folder / "HEAD").read_text(encoding="utf-8").strip()
    for _ in range(_MAX_REFERENCES):
        if not value.startswith("ref:"):
            return value if _OBJECT_ID.fullmatch(value) else None
        name = value[4:].strip()
        value = _read_ref(folder, common, name) or ""
    return None


def _read_ref(folder: Path, common: Path, name: str) -> str | None:
    for parent in (folder, common):
        loose = parent / name
        if loose.is_file():
            return loose.read_text(encoding="utf-8").strip()
    return dict(_packed_refs(common)).get(name)


def _packed_refs(common: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the object id of each packed reference."""
    path = common / "packed-refs"
    if path.is_file():
        for line in path.read_text(encoding="utf-8").splitlines():
            object_id, _, name = line.partition(" ")
            if _OBJECT_ID.fullmatch(object_id):
                yield name, object_id


def _tags(common: Path, prefixes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the name and the object id of each tag whose name begins with one of ``prefixes``."""
    start = "refs/tags/"
    tags = {name[len(start) :]: object_id for name, object_id in _packed_refs(common) if name.startswith(start)}
    folder = common / "refs" / "tags"
    for path in folder.rglob("*"):
        if path.is_file():
            tags[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8").strip()
    return ((name, object_id) for name, object_id in tags.items() if name.startswith(prefixes))


class _ObjectReader:
    """Reader of a repository's objects, loose or in packs."""

    def __init__(self, folder: Path) -> None:
        self._folders = [folder]
        alternates = folder / "info" / "alternates"
        if alternates.is_file():
            self._folders += [folder / line for line in alternates.read_text(encoding="utf-8").splitlines() if line]

    def file_in(self, object_id: str, names: tuple[str, ...]) -> str | None:
        """Return the id of a file's content in a commit, or in the commit that a tag points to.

        Args:
            object_id: The id of the commit or tag.
            names: The parts of the file's path in the repository.
        """
        kind, data = self.read(object_id)
        for _ in range(_MAX_REFERENCES):
            if kind != b"tag":
                break
            kind, data = self.read(data[7:47].decode())
        if kind != b"commit" or not data.startswith(b"tree "):
            return None
        entry: str | None = data[5:45].decode()
        for name in names:
            if entry is None:
                return None
            kind, tree = self.read(entry)
            entry = dict(_entries(tree)).get(name.encode()) if kind == b"tree" else None
        return entry

    def read(self, object_id: str, depth: int = 0) -> tuple[bytes, bytes]:
        """Return the type and the data of an object.

        Args:
            object_id: The id in hexadecimal digits.
            depth: The number of deltas that led here.

        Raises:
            KeyError: The repository has no such object.
            ValueError: The object is too large or damaged.
        """
        for folder in self._folders:
            loose = folder / object_id[:2] / object_id[2:]
            if loose.is_file():
                header, _, data = _inflate(loose.read_bytes()).partition(b"\0")
                return header.partition(b" ")[0], data
            for index in (folder / "pack").glob("*.idx"):
                offset = _offset_in_pack(index, object_id)
                if offset is not None:
                    with _mapped(index.with_suffix(".pack")) as pack:
                        return self._read_packed(pack, offset, depth)
        raise KeyError(object_id)

    def _read_packed(self, pack: mmap.mmap, offset: int, depth: int) -> tuple[bytes, bytes]:
        """Return the type and the data of the object at ``offset``.

        Format: https://git-scm.com/docs/pack-format
        """
        start = offset
        byte = pack[offset]
        kind, offset = byte >> 4 & 7, offset + 1
        while byte & 0x80:
            byte, offset = pack[offset], offset + 1
        if kind in _OBJECT_TYPES:
            return _OBJECT_TYPES[kind], _inflate(pack, offset)
        if depth > _MAX_DELTAS:
            raise ValueError(f"an object has more than {_MAX_DELTAS} deltas")
        if kind == _OFFSET_DELTA:
            byte, offset = pack[offset], offset + 1
            back = byte & 0x7F
            while byte & 0x80:
                byte, offset = pack[offset], offset + 1
                back = ((back + 1) << 7) | (byte & 0x7F)
            base_type, base = self._read_packed(pack, start - back, depth + 1)
        elif kind == _REFERENCE_DELTA:
            base_type, base = self.read(pack[offset : offset + 20].hex(), depth + 1)
            offset += 20
        else:
            raise ValueError(f"unknown type {kind} of an object")
        return base_type, _apply_delta(base, _inflate(pack, offset))


def _mapped(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _inflate(data: bytes | mmap.mmap, offset: int = 0) -> bytes:
    engine = zlib.decompressobj()
    inflated = bytearray()
    while not engine.eof and offset < len(data):
        inflated += engine.decompress(data[offset : offset + 65536], _MAX_OBJECT_BYTES - len(inflated))
        offset += 65536
        if len(inflated) >= _MAX_OBJECT_BYTES:
            raise ValueError("an object is too large to be a prompt")
    return bytes(inflated)


def _apply_delta(base: bytes, delta: bytes) -> bytes:
    _, at = _read_size(delta, 0)
    _, at = _read_size(delta, at)
    result = bytearray()
    while at < len(delta):
        opcode, at = delta[at], at + 1
        if not opcode & 0x80:  # insert the next bytes; otherwise copy from the base
            result += delta[at : at + opcode]
            at += opcode
            continue
        start = length = 0
        for bit in range(4):
            if opcode & 1 << bit:
                start, at = start | delta[at] << 8 * bit, at + 1
        for bit in range(3):
            if opcode & 0x10 << bit:
                length, at = length | delta[at] << 8 * bit, at + 1
        length = length or 0x10000
        result += base[start : start + length]
        if len(result) > _MAX_OBJECT_BYTES:
            raise ValueError("an object is too large to be a prompt")
    return bytes(result)


def _read_size(data: bytes, at: int) -> tuple[int, int]:
    """Return the size encoded at ``at`` and the position after it."""
    value = shift = 0
    while True:
        byte, at = data[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def _entries(tree: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the name and the object id of each entry of a tree."""
    at = 0
    while at < len(tree):
        end = tree.index(b"\0", at)
        yield tree[at:end].partition(b" ")[2], tree[end + 1 : end + 21].hex()
        at = end + 21


def _offset_in_pack(index: Path, object_id: str) -> int | None:
    """Return the offset of an object in the pack of ``index``, or ``None`` if it is not in there."""
    wanted = bytes.fromhex(object_id)
    with _mapped(index) as data:
        if data[:8] != b"\xfftOc\0\0\0\2":
            return None

        def number(at: int) -> int:
            value: int = struct.unpack_from(">I", data, at)[0]
            return value

        fan_out = 8
        low = number(fan_out + 4 * (wanted[0] - 1)) if wanted[0] else 0
        high, total = number(fan_out + 4 * wanted[0]), number(fan_out + 4 * 255)
        names = fan_out + 1024
        while low < high:
            middle = (low + high) // 2
            name = data[names + 20 * middle : names + 20 * middle + 20]
            if name == wanted:
                offset = number(names + 24 * total + 4 * middle)
                if not offset & 0x80000000:
                    return offset
                large = names + 28 * total + 8 * (offset & 0x7FFFFFFF)
                large_offset: int = struct.unpack_from(">Q", data, large)[0]
                return large_offset
            if name < wanted:
                low = middle + 1
            else:
                high = middle
    return None
