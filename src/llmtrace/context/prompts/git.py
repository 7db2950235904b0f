"""The commit and tags that contain a file, answered by the ``git`` program.

Git runs only when something in the repository has changed since the last answer. Without Git, or if Git refuses the
repository or takes too long, there is no result.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from ..._settings.environment import variables

_TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class FileHistory:
    """The commit and the tags that contain one file with its current content."""

    commit: str | None = None
    """Id of the checked-out commit, if it contains the file with this content."""
    tags: tuple[str, ...] = ()
    """Names of the requested tags whose commits contain the file with this content."""


_NO_HISTORY = FileHistory()


def look_up(path: Path, data: bytes, tag_prefixes: tuple[str, ...] = ()) -> FileHistory:
    """Return the commit and the tags with these prefixes that contain the file ``path`` with the content ``data``.

    The history is empty if the file is in no repository or Git cannot read the repository. Never raises.
    """
    try:
        path = path.resolve()
        root = next((folder for folder in path.parents if (folder / ".git").exists()), None)
        folders = None if root is None else _folders(root)
        if root is None or folders is None:
            return _NO_HISTORY
        content = b"blob %d\0" % len(data) + data
        # The hash of a file is its object id, by either of Git's hash functions.
        object_ids = tuple(hashlib.new(name, content, usedforsecurity=False).hexdigest() for name in ("sha1", "sha256"))
        name = path.relative_to(root).as_posix()
        return _search(root, name, object_ids, tag_prefixes, _state(*folders, tag_prefixes))
    except Exception:  # a prompt is usable without its history
        return _NO_HISTORY


@lru_cache(maxsize=64)
def _folders(root: Path) -> tuple[str, str] | None:
    """Return the Git folder of the work tree ``root`` and the folder of its tags, ``None`` if Git cannot read it."""
    match _run(root, "rev-parse", "--absolute-git-dir", "--git-path", "refs/tags"):
        case [folder, tags]:
            return folder, os.path.join(root, tags)
        case _:
            return None


def _state(folder: str, tags: str, tag_prefixes: Iterable[str]) -> tuple[int | None, ...]:
    """Return modification times that change with every commit, check-out and tag.

    Before Git moves HEAD, it creates a lock file in the folder of the work tree; before it sets a tag, one next to it.
    """
    return tuple(map(_modified, (folder, tags, *(os.path.dirname(f"{tags}/{prefix}") for prefix in tag_prefixes))))


def _modified(path: str) -> int | None:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return None


@lru_cache(maxsize=512)
def _search(
    root: Path,
    name: str,
    object_ids: tuple[str, ...],
    tag_prefixes: tuple[str, ...],
    state: tuple[int | None, ...],  # a key of the cache
) -> FileHistory:
    tags = []
    if tag_prefixes:
        references = _run(root, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/tags")
        tags = sorted(tag for tag in references if tag.startswith(tag_prefixes))
    revisions = ["HEAD", f"HEAD:{name}", *(f"refs/tags/{tag}:{name}" for tag in tags)]
    answers = _run(root, "cat-file", "--batch-check=%(objectname)", lines=revisions)
    head, committed, *tagged = [*answers, "", ""]  # Git stops at the first damaged object
    return FileHistory(
        head if committed in object_ids else None,
        tuple(tag for tag, object_id in zip(tags, tagged, strict=False) if object_id in object_ids),
    )


def _run(root: Path, *arguments: str, lines: Iterable[str] = ()) -> list[str]:
    """Run Git in ``root`` and return the lines that it prints, none if it cannot be run or takes too long."""
    program = shutil.which("git")
    if program is None or not os.path.isabs(program):  # Windows also looks in the current folder
        return []
    # Drop the variables of a Git hook, which name another repository, and never fetch what a partial clone lacks.
    environment = {
        name: value
        for name, value in variables().items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    environment |= {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none", "GIT_TERMINAL_PROMPT": "0"}
    try:
        done = subprocess.run(
            [program, *arguments],
            cwd=root,
            env=environment,
            input="".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return done.stdout.decode("utf-8", "surrogateescape").splitlines()
