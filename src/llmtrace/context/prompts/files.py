"""Prompt files: ``<folder>/<name>/<version>.md`` with a ``labels.toml``, or one file ``<folder>/<name>.md``.

The functions raise ``ConfigError`` if a file cannot be read or is invalid, or if there is no such prompt or version.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from ..._settings import ConfigError
from . import git

LABELS = "labels.toml"
HISTORY = "previous"
"""Table of the label file with the earlier versions of each label."""
_SUFFIXES = (".md", ".txt")
_NAME = re.compile(r"[A-Za-z0-9_](?:[\w.-]*[\w-])?(?:/[A-Za-z0-9_](?:[\w.-]*[\w-])?)*", re.ASCII)
_MAX_NAME_CHARS = 200
"""Maximum characters of a prompt's name, which becomes part of a path."""
_MAX_METADATA_CHARS = 65_536
"""Maximum characters of front matter or of a label file."""
_MAX_VALUES = 10_000
"""Maximum values in front matter or in a label file, aliases included."""
_MAX_INTEGER_BITS = 64
_FENCE = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


def digest(text: str) -> str:
    """Return ``sha256:`` and the first 12 hexadecimal digits of the SHA-256 of ``text``."""
    return "sha256:" + sha256(text.encode("utf-8", "replace")).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The parsed content of one prompt file."""

    path: Path
    version: str
    template: str
    front_matter: dict[str, Any] = field(default_factory=dict)
    commit: str | None = None


@dataclass(frozen=True, slots=True)
class LabelTarget:
    """The version of a label and its share of sessions."""

    version: str
    weight: float | None = None
    """Percentage of sessions that get the version when no label is requested."""


def names_in(folder: Path) -> list[str]:
    """Return the names of all prompts in a folder, sorted."""
    names = {
        (path.parent if (path.parent / LABELS).is_file() or _is_version(path, folder) else path.with_suffix(""))
        .relative_to(folder)
        .as_posix()
        for path in folder.rglob("*")
        if path.suffix in _SUFFIXES and path.is_file()
    }
    return sorted(name for name in names if _NAME.fullmatch(name))


def _is_version(path: Path, folder: Path) -> bool:
    # Require a digit: ``support/1.md`` is version 1 of ``support``; ``support/answer.md`` is another prompt.
    return path.parent != folder and re.fullmatch(r"v?\d[\w.-]*", path.stem) is not None


def find(folder: Path, name: str) -> Path:
    """Return the folder with a prompt's versions, or its single file."""
    if not isinstance(name, str) or len(name) > _MAX_NAME_CHARS or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is not a valid prompt name; use letters, digits, '.', '-', '_', and '/' for folders"
        )
    prompt_folder = folder / name
    if prompt_folder.is_dir() and ((prompt_folder / LABELS).is_file() or versions_of(prompt_folder)):
        return prompt_folder
    for suffix in _SUFFIXES:
        file = folder / (name + suffix)
        if file.is_file():
            return file
    if not folder.is_dir():
        raise ConfigError(f"prompt {name!r}: there is no folder {folder} (LLMTRACE_PROMPTS)")
    names = ", ".join(names_in(folder)[:20]) or "none"
    raise ConfigError(f"there is no prompt {name!r} in {folder} (LLMTRACE_PROMPTS); its prompts are: {names}")


def versions_of(folder: Path) -> list[str]:
    """Return the versions in a prompt's folder, the latest last."""
    try:
        versions = [path.stem for path in folder.iterdir() if path.suffix in _SUFFIXES and path.is_file()]
    except OSError as error:
        raise ConfigError(f"{folder} cannot be read: {error.strerror or error}") from None
    return sorted(versions, key=_sort_key)


def _sort_key(version: str) -> list[tuple[int, int, str]]:
    parts = (part.lstrip("0") if part.isdecimal() else part for part in re.split(r"(\d+)", version) if part)
    # Compare numbers by length, then as text: Python limits the digits that ``int`` converts.
    return [(1, len(part), part) if not part or part.isdecimal() else (0, 0, part) for part in parts]


def labels_of(folder: Path) -> dict[str, LabelTarget]:
    """Return the labels of a prompt's folder, none if it has no label file."""
    path = folder / LABELS
    try:
        return parse_labels(path, path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from None


def parse_labels(path: Path, text: str) -> dict[str, LabelTarget]:
    """Parse ``text``, the content of the label file ``path``."""
    try:
        if len(text) > _MAX_METADATA_CHARS:
            raise ValueError(f"it is longer than {_MAX_METADATA_CHARS:,} characters")
        document = _check_size(tomllib.loads(text))
    except (ValueError, RecursionError) as error:  # nested too deeply, or a number with too many digits
        raise ConfigError(f"{path} is not valid TOML: {_cause(error)}") from None
    history = document.get(HISTORY, {})
    if not isinstance(history, dict) or not all(isinstance(versions, list) for versions in history.values()):
        raise ConfigError(f"{path}: [{HISTORY}] must list earlier versions by label; delete it if in doubt")
    targets = {label: _parse_target(path, label, value) for label, value in document.items() if label != HISTORY}
    total = sum(target.weight or 0 for target in targets.values())
    if total > 100:
        raise ConfigError(f"{path}: the weights add up to {total:g}; use at most 100; production gets the rest")
    return targets


def _parse_target(path: Path, label: str, value: object) -> LabelTarget:
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


def read(path: Path, name: str, version: str | None) -> PromptFile:
    """Return a version of a prompt in a folder, or the one in a single file."""
    if not path.is_dir():
        return _read_file(path, name, None)
    versions = versions_of(path)
    for suffix in _SUFFIXES:
        file = path / f"{version}{suffix}"
        if version in versions and file.is_file():
            return _read_file(file, name, version)
    raise ConfigError(f"prompt {name!r} has no version {version!r}; its versions are: {', '.join(versions) or 'none'}")


def _read_file(path: Path, name: str, version: str | None) -> PromptFile:
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: {error}") from None
    front_matter, template = _split(path, text)
    history = git.look_up(path, data, () if version is not None else (f"{name}@", f"{name}/"))
    if version is None:
        named = front_matter.get("version")
        tagged = sorted((tag[len(name) + 1 :] for tag in history.tags), key=_sort_key)
        version = "" if named is None or isinstance(named, (dict, list)) else str(named)
        version = version or (tagged[-1] if tagged else digest(text))
    return PromptFile(path, version, template, front_matter, history.commit)


def _split(path: Path, text: str) -> tuple[dict[str, Any], str]:
    """Return the front matter of a prompt file and the template below it."""
    fence = _FENCE.match(text)
    if fence is None:
        return {}, text
    try:
        import yaml
    except ImportError:
        raise ConfigError(
            f"{path} has front matter, which needs PyYAML: pip install 'llmtrace-otel[prompts]'"
        ) from None
    try:
        if len(fence[1]) > _MAX_METADATA_CHARS:
            raise ValueError(f"it is longer than {_MAX_METADATA_CHARS:,} characters")
        front_matter = yaml.safe_load(fence[1])
        if front_matter is not None and not isinstance(front_matter, dict):
            raise ValueError(f"expected keys and values, not {type(front_matter).__name__}")
        return {str(key): _check_size(value) for key, value in (front_matter or {}).items()}, text[fence.end() :]
    # Catch everything: PyYAML also raises for impossible dates, long numbers, deep nesting and unknown tags.
    except Exception as error:
        raise ConfigError(f"{path}: the front matter is not valid YAML: {_cause(error)}") from None


def _check_size(value: Any) -> Any:
    """Return ``value``. Raise ``ValueError`` if it is too large to be printed, copied and compared."""
    pending, count = [value], 0
    while pending:
        part = pending.pop()
        count += 1
        if count > _MAX_VALUES:  # nested aliases multiply, and a list inside itself never ends
            raise ValueError(f"it has more than {_MAX_VALUES:,} values, aliases included")
        if isinstance(part, int) and part.bit_length() > _MAX_INTEGER_BITS:
            raise ValueError(f"it has an integer of more than {_MAX_INTEGER_BITS} bits")
        if isinstance(part, dict):
            pending += [*part, *part.values()]
        elif isinstance(part, (list, tuple, set)):
            pending += part
    return value


def _cause(error: BaseException) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
