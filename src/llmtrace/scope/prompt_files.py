"""Prompts as files: ``<folder>/<name>/<version>.md`` with labels beside them, or one file ``<folder>/<name>.md``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from .._config import ConfigError
from . import git

__all__ = [
    "HISTORY",
    "LABELS",
    "PromptFile",
    "Share",
    "digest",
    "find",
    "labels_of",
    "names_in",
    "read",
    "shares_in",
    "versions_of",
]

LABELS = "labels.toml"
HISTORY = "previous"
"""The table of the label file that says which version each label had before."""
_SUFFIXES = (".md", ".txt")
_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w-])?(?:/[A-Za-z0-9_](?:[\w.-]*[\w-])?)*", re.ASCII)
_LONGEST = 200
"""Characters in a name, which is part of a path."""
_FENCE = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def digest(text: str) -> str:
    return "sha256:" + sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What one file says."""

    path: Path
    version: str
    template: str
    head: dict[str, Any] = field(default_factory=dict)
    """The front matter."""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """What a label stands for."""

    version: str
    weight: float | None = None
    """The percentage of sessions that get it without asking for it."""


def names_in(folder: Path) -> list[str]:
    """Every prompt of a folder, by name."""
    found = {
        (path.parent if (path.parent / LABELS).is_file() or _is_version(path, folder) else path.with_suffix(""))
        .relative_to(folder)
        .as_posix()
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file()
    }
    return sorted(name for name in found if _NAME.fullmatch(name))


def _is_version(path: Path, folder: Path) -> bool:
    # ``support/1.md`` is version 1 of ``support``; ``support/answer.md`` is a prompt of its own.
    return path.parent != folder and re.fullmatch(r"v?\d[\w.-]*", path.stem) is not None


def find(folder: Path, name: str) -> Path:
    """The folder of a prompt's versions, or its one file."""
    if not isinstance(name, str) or len(name) > _LONGEST or not _NAME.fullmatch(name):
        raise ConfigError(f"{name!r} is no name of a prompt; use letters, digits, '.', '-', '_', and '/' for folders")
    place = folder / name
    if place.is_dir() and ((place / LABELS).is_file() or versions_of(place)):
        return place
    for suffix in _SUFFIXES:
        file = folder / (name + suffix)
        if file.is_file():
            return file
    there = ", ".join(names_in(folder)[:20]) if folder.is_dir() else "no such folder"
    raise ConfigError(f"there is no prompt {name!r} in {folder} (LLMTRACE_PROMPTS); there: {there or 'nothing'}")


def versions_of(place: Path) -> list[str]:
    """The versions in a prompt's folder, the latest last."""
    return sorted((path.stem for path in place.iterdir() if path.suffix in _SUFFIXES and path.is_file()), key=_order)


def _order(version: str) -> list[tuple[int, int, str]]:
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in re.split(r"(\d+)", version) if part]


def labels_of(place: Path) -> dict[str, Share]:
    """What the label file says.

    Raises:
        ConfigError: It cannot be read as what it should be.
    """
    path = place / LABELS
    try:
        return shares_in(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None


def shares_in(path: Path, text: str) -> dict[str, Share]:
    """What ``text``, of the label file ``path``, says."""
    try:
        told = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    found = {label: _share(path, label, value) for label, value in told.items() if label != HISTORY}
    total = sum(share.weight or 0 for share in found.values())
    if total > 100:
        raise ConfigError(f"{path}: the weights add up to {total:g}; use at most 100, production takes the rest")
    return found


def _share(path: Path, label: str, value: object) -> Share:
    weight: object = None
    if isinstance(value, dict):
        weight, value = value.get("weight"), value.get("version")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ConfigError(f'{path}: label {label!r} needs a version: {label} = "3" or {{ version = "3", weight = 10 }}')
    if weight is None:
        return Share(value)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 100:
        raise ConfigError(f"{path}: the weight of label {label!r} is {weight!r}; use a percentage, 0 to 100")
    return Share(value, float(weight))


def read(place: Path, name: str, version: str | None) -> PromptFile:
    """One version from a prompt's folder, or a prompt's one file."""
    if not place.is_dir():
        return _read(place, name, None)
    for suffix in _SUFFIXES:
        path = place / f"{version}{suffix}"
        if version in versions_of(place) and path.is_file():
            return _read(path, name, version)
    raise ConfigError(f"prompt {name!r} has no version {version!r}; there: {', '.join(versions_of(place))}")


def _read(path: Path, name: str, version: str | None) -> PromptFile:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from None
    head, template = _split(path, text)
    known = git.look_up(path, data, () if version is not None else (f"{name}@", f"{name}/"))
    if version is None:
        version = _told_version(head) or _tagged(name, known) or digest(text)
    return PromptFile(path, version, template, head, known.commit)


def _told_version(head: dict[str, Any]) -> str | None:
    told = head.get("version")
    return None if told is None or isinstance(told, (dict, list)) else str(told)


def _tagged(name: str, known: git.Known) -> str | None:
    versions = sorted((tag[len(name) + 1 :] for tag in known.tags), key=_order)
    return versions[-1] if versions else None


def _split(path: Path, text: str) -> tuple[dict[str, Any], str]:
    fence = _FENCE.match(text)
    if fence is None:
        return {}, text
    try:
        import yaml
    except ImportError:
        raise ConfigError(f"{path} has front matter: pip install 'llmtrace-otel[prompts]' to read it") from None
    try:
        head = yaml.safe_load(fence[1])
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: the front matter is no YAML: {error}") from None
    if head is not None and not isinstance(head, dict):
        raise ConfigError(f"{path}: the front matter must be keys and values, not {type(head).__name__}")
    return {str(key): value for key, value in (head or {}).items()}, text[fence.end() :]
