"""``llmtrace prompts``: lists prompts, compares versions and moves labels.

The only file that it writes is a prompt's label file.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from .._settings import ConfigError
from ..context.prompts import files
from ..context.prompts import folder as configured
from .terminal import Amount, echo, echo_text, usage_error

_PRODUCTION = "production"
_MAX_HISTORY = 20


_HELP = """
List prompts, or show, compare, promote and roll back versions.

\b
llmtrace prompts show NAME [VERSION]
llmtrace prompts diff NAME A B
llmtrace prompts promote NAME VERSION
llmtrace prompts rollback NAME
"""


@click.command("prompts", help=_HELP)
@click.argument("action", type=click.Choice(["list", "show", "diff", "promote", "rollback"]), default="list")
@click.argument("name", required=False)
@click.argument("versions", nargs=-1)
@click.option("--label", default=_PRODUCTION, show_default=True, help="Label that promote and rollback move.")
@click.option("--weight", type=Amount(100), help="Percentage of sessions that get the promoted version.")
@click.option("--folder", help="Folder of prompts. Default: LLMTRACE_PROMPTS.")
def command(
    action: str, name: str | None, versions: Sequence[str], label: str, weight: float | None, folder: str | None
) -> int:
    """Carry out one action and return the exit status: 0 done, 2 wrong usage or nothing there."""
    place = configured() if folder is None else Path(folder)
    try:
        if action == "list":
            return _list(place)
        if name is None:
            return usage_error(f"prompts {action} needs the name of a prompt")
        if action == "show" and len(versions) <= 1:
            return _show(place, name, *versions)
        if action == "diff" and len(versions) == 2:
            return _diff(place, name, *versions)
        if action == "promote" and len(versions) == 1:
            return _promote(place, name, versions[0], label, weight)
        if action == "rollback" and not versions:
            return _rollback(place, name, label)
    except (ConfigError, OSError) as error:
        return usage_error(str(error))
    return usage_error(
        "usage: prompts [list | show NAME [VERSION] | diff NAME A B | promote NAME VERSION | rollback NAME]"
    )


def _list(place: Path) -> int:
    names = files.names_in(place) if place.is_dir() else []
    if not names:
        return usage_error(f"there are no prompts in {place}")
    for name in names:
        path = files.find(place, name)
        if not path.is_dir():
            echo(f"{name}  {files.read(path, name, None).version}")
            continue
        labels = files.labels_of(path)
        targets = [
            f"{label} = {share.version}" + ("" if share.weight is None else f" ({share.weight:g} %)")
            for label, share in labels.items()
        ]
        echo(f"{name}  versions {', '.join(files.versions_of(path))}" + (f"; {', '.join(targets)}" if targets else ""))
    return 0


def _file(place: Path, name: str, version: str | None) -> files.PromptFile:
    """Read the file of a version or label; by default of ``production``, else of the latest version."""
    path = files.find(place, name)
    if not path.is_dir():
        return files.read(path, name, None)
    labels, versions = files.labels_of(path), files.versions_of(path)
    selected = version or (_PRODUCTION if _PRODUCTION in labels else versions[-1])
    if selected not in versions and selected in labels:
        selected = labels[selected].version
    return files.read(path, name, selected)


def _show(place: Path, name: str, version: str | None = None) -> int:
    file = _file(place, name, version)
    echo(f"{name}, version {file.version}, {files.digest(file.template)}, {file.path}")
    if file.commit is not None:
        echo(f"commit {file.commit}")
    for key, value in file.front_matter.items():
        echo(f"{key}: {value}")
    echo()
    echo_text(file.template.rstrip("\n"))
    return 0


def _diff(place: Path, name: str, first: str, second: str) -> int:
    old, new = _file(place, name, first), _file(place, name, second)
    texts = [file.path.read_text(encoding="utf-8").splitlines() for file in (old, new)]
    for line in difflib.unified_diff(texts[0], texts[1], f"{name}/{old.version}", f"{name}/{new.version}", lineterm=""):
        echo_text(line)
    return 0


def _promote(place: Path, name: str, version: str, label: str, weight: float | None) -> int:
    path = files.find(place, name)
    if not path.is_dir():
        return usage_error(f"prompt {name!r} is a single file; labels need versions: move it to {name}/1{path.suffix}")
    if label == files.HISTORY:
        return usage_error(f"{label!r} is not a valid label: the label file keeps its history under that name")
    files.read(path, name, version)
    before = files.labels_of(path).get(label)
    if before is not None and before.version == version and weight in (None, before.weight):
        echo(f"{name}: {label} is already {version}")
        return 0
    document = _document(path)
    if before is not None and before.version != version:
        history = document.setdefault(files.HISTORY, {})
        history[label] = [*history.get(label, []), before.version][-_MAX_HISTORY:]
    _set(document, label, version, weight if weight is not None else before.weight if before is not None else None)
    _write(path, document)
    echo(f"{name}: {label} is {version}" + (f", it was {before.version}" if before is not None else ""))
    return 0


def _rollback(place: Path, name: str, label: str) -> int:
    path = files.find(place, name)
    labels = files.labels_of(path) if path.is_dir() else {}
    if label not in labels:
        return usage_error(f"prompt {name!r} has no label {label!r}")
    document = _document(path)
    history = document.get(files.HISTORY, {})
    versions = list(history.get(label, []))
    if not versions:
        return usage_error(f"{name}: {label} has no earlier version")
    version = str(versions.pop())
    files.read(path, name, version)
    if versions:
        history[label] = versions
    else:
        del history[label]
        if not history:
            del document[files.HISTORY]
    _set(document, label, version, labels[label].weight)
    _write(path, document)
    echo(f"{name}: {label} is {version} again, it was {labels[label].version}")
    return 0


def _document(place: Path) -> Any:
    """Parse the label file, keeping comments and order."""
    try:
        import tomlkit
    except ImportError:
        raise ConfigError("changing labels needs: pip install 'llmtrace-otel[prompts]'") from None
    path = place / files.LABELS
    return tomlkit.parse(path.read_text(encoding="utf-8") if path.is_file() else "")


def _set(document: Any, label: str, version: str, weight: float | None) -> None:
    import tomlkit

    if weight is None:
        document[label] = version
        return
    entry = tomlkit.inline_table()
    entry.update({"version": version, "weight": int(weight) if weight == int(weight) else weight})
    document[label] = entry


def _write(place: Path, document: Any) -> None:
    """Validate the new label file and replace the old one atomically."""
    import tomlkit

    path = place / files.LABELS
    draft = place / (files.LABELS + ".new")
    text = tomlkit.dumps(document).rstrip("\n") + "\n"
    files.parse_labels(path, text)
    try:
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
