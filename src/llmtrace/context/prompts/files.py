"""Prompts as files: ``<folder>/<name>/<version>.md`` with labels beside them, or one file ``<folder>/<name>.md``."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..._settings import ConfigError
from . import git

__all__ = [
    "HISTORY",
    "LABELS",
    "LabelTarget",
    "PromptFile",
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
_MAX_NAME_CHARS = 200
"""Characters in a name, which is part of a path."""
_MAX_HEAD_CHARS = 65_536
"""Characters in front matter, or in a label file."""
_MAX_PARTS = 10_000
_MAX_BITS = 64
_FENCE = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def digest(text: str) -> str:
    return "sha256:" + sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """What one file says."""

    path: Path
    version: str
    template: str
    front_matter: dict[str, Any] = field(default_factory=dict)
    """The front matter."""
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class LabelTarget:
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
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
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
    try:
        files = [path.stem for path in place.iterdir() if path.suffix in _SUFFIXES and path.is_file()]
    except OSError as error:
        raise ConfigError(f"{place} cannot be read: {error.strerror or error}") from None
    return sorted(files, key=_order)


def _order(version: str) -> list[tuple[int, int, str]]:
    parts = (part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", version) if part)
    # By length, then digit by digit: a tag may have more digits than Python converts.
    return [(1, len(part), part) if not part or part.isdecimal() else (0, 0, part) for part in parts]


def labels_of(place: Path) -> dict[str, LabelTarget]:
    """What the label file says.

    Raises:
        ConfigError: It cannot be read as what it should be.
    """
    path = place / LABELS
    try:
        return shares_in(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def shares_in(path: Path, text: str) -> dict[str, LabelTarget]:
    """What ``text``, of the label file ``path``, says."""
    try:
        if len(text) > _MAX_HEAD_CHARS:
            raise ValueError(f"it is longer than {_MAX_HEAD_CHARS:,} characters")
        told = _plain(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # nested too deeply, a number of too many digits
        raise ConfigError(f"{path} is not valid TOML: {_cause(error)}") from None
    history = told.get(HISTORY, {})
    if not isinstance(history, dict) or not all(isinstance(versions, list) for versions in history.values()):
        raise ConfigError(f"{path}: [{HISTORY}] must list earlier versions by label; delete it if in doubt")
    found = {label: _share(path, label, value) for label, value in told.items() if label != HISTORY}
    total = sum(share.weight or 0 for share in found.values())
    if total > 100:
        raise ConfigError(f"{path}: the weights add up to {total:g}; use at most 100, production takes the rest")
    return found


def _share(path: Path, label: str, value: object) -> LabelTarget:
    weight: object = None
    if isinstance(value, dict):
        weight, value = value.get("weight"), value.get("version")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or not value:
        raise ConfigError(f'{path}: label {label!r} needs a version: {label} = "3" or {{ version = "3", weight = 10 }}')
    if weight is None:
        return LabelTarget(value)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not 0 <= weight <= 100:
        raise ConfigError(f"{path}: the weight of label {label!r} is {weight!r}; use a percentage, 0 to 100")
    return LabelTarget(value, float(weight))


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
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from None
    head, template = _split(path, text)
    known = git.look_up(path, data, () if version is not None else (f"{name}@", f"{name}/"))
    if version is None:
        version = _front_matter_version(head) or _tagged(name, known) or digest(text)
    return PromptFile(path, version, template, head, known.commit)


def _front_matter_version(head: dict[str, Any]) -> str | None:
    told = head.get("version")
    return None if told is None or isinstance(told, (dict, list)) else str(told)


def _tagged(name: str, known: git.FileHistory) -> str | None:
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
        if len(fence[1]) > _MAX_HEAD_CHARS:
            raise ValueError(f"it is longer than {_MAX_HEAD_CHARS:,} characters")
        head = yaml.safe_load(fence[1])
        if head is not None and not isinstance(head, dict):
            raise ValueError(f"it must be keys and values, not {type(head).__name__}")
        return {str(key): _plain(value) for key, value in (head or {}).items()}, text[fence.end() :]
    # Beyond errors of its own: a date or a number that Python has not, nesting deeper than its stack, wrong tags.
    except Exception as error:
        raise ConfigError(f"{path}: the front matter is not valid YAML: {_cause(error)}") from None


def _plain(value: Any) -> Any:
    """Return the value, if it may be printed, copied and compared in reasonable time.

    Raises:
        ValueError: It has more parts than a file of this size can spell out, contains itself, or has a huge number.
    """
    waiting, seen = [value], 0
    while waiting:
        part = waiting.pop()
        seen += 1
        if seen > _MAX_PARTS:  # of aliases that multiply, or of a list inside itself
            raise ValueError(f"it has more than {_MAX_PARTS:,} values, aliases included")
        if isinstance(part, int) and part.bit_length() > _MAX_BITS:
            raise ValueError(f"a whole number of more than {_MAX_BITS} bits")
        if isinstance(part, dict):
            waiting += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set)):
            waiting += part
    return value


def _cause(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
