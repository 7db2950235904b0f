"""``llmtrace prompts``: what there is, how versions differ, and which version a label stands for.

Nothing but a prompt's label file is ever written.
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
from .terminal import Amount, echo, echo_error, echo_text

__all__ = ["command", "run"]

_PRODUCTION = "production"
_REMEMBERED = 20


def run(
    action: str = "list",
    name: str | None = None,
    versions: Sequence[str] = (),
    *,
    label: str = _PRODUCTION,
    weight: float | None = None,
    folder: str | None = None,
) -> int:
    """Carry out one action and return the exit status: 0 done, 2 wrong usage or nothing there.

    Args:
        action: ``list``, ``show``, ``diff``, ``promote`` or ``rollback``.
        name: The prompt's name; all but ``list`` need it.
        versions: Versions or labels: one for ``show`` (optional) and ``promote``, two for ``diff``.
        label: The label that ``promote`` and ``rollback`` move.
        weight: The percentage of sessions that ``promote`` gives to the label.
        folder: Where prompts are; by default as ``LLMTRACE_PROMPTS`` says.
    """
    place = configured() if folder is None else Path(folder)
    try:
        if action == "list":
            return _list(place)
        if name is None:
            return _wrong(f"prompts {action} needs the name of a prompt")
        if action == "show" and len(versions) <= 1:
            return _show(place, name, *versions)
        if action == "diff" and len(versions) == 2:
            return _diff(place, name, *versions)
        if action == "promote" and len(versions) == 1:
            return _promote(place, name, versions[0], label, weight)
        if action == "rollback" and not versions:
            return _rollback(place, name, label)
    except (ConfigError, OSError) as error:
        return _wrong(str(error))
    return _wrong("usage: prompts [list | show NAME [VERSION] | diff NAME A B | promote NAME VERSION | rollback NAME]")


def _wrong(message: str) -> int:
    echo_error(message)
    return 2


def _list(place: Path) -> int:
    names = files.names_in(place) if place.is_dir() else []
    if not names:
        return _wrong(f"there are no prompts in {place}")
    for name in names:
        found = files.find(place, name)
        if not found.is_dir():
            echo(f"{name}  {files.read(found, name, None).version}")
            continue
        labels = files.labels_of(found)
        told = [f"{label} = {share.version}" + _share(share) for label, share in labels.items()]
        echo(f"{name}  versions {', '.join(files.versions_of(found))}" + (f"; {', '.join(told)}" if told else ""))
    return 0


def _share(share: files.LabelTarget) -> str:
    return "" if share.weight is None else f" ({share.weight:g} %)"


def _file(place: Path, name: str, version: str | None) -> files.PromptFile:
    """The file of a version, or of what a label stands for; by default of ``production``, else the latest."""
    found = files.find(place, name)
    if not found.is_dir():
        return files.read(found, name, None)
    labels, versions = files.labels_of(found), files.versions_of(found)
    wanted = version or (_PRODUCTION if _PRODUCTION in labels else versions[-1])
    if wanted not in versions and wanted in labels:
        wanted = labels[wanted].version
    return files.read(found, name, wanted)


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
    found = files.find(place, name)
    if not found.is_dir():
        return _wrong(f"prompt {name!r} is one file and has no labels; move it to {name}/1{found.suffix} to have some")
    if label == files.HISTORY:
        return _wrong(f"{label!r} is no label: the label file keeps its history under that name")
    files.read(found, name, version)
    before = files.labels_of(found).get(label)
    if before is not None and before.version == version and weight in (None, before.weight):
        echo(f"{name}: {label} is {version} already")
        return 0
    document = _document(found)
    if before is not None and before.version != version:
        history = document.setdefault(files.HISTORY, {})
        history[label] = [*history.get(label, []), before.version][-_REMEMBERED:]
    _set(document, label, version, weight if weight is not None else before.weight if before is not None else None)
    _write(found, document)
    echo(f"{name}: {label} is {version}" + (f", it was {before.version}" if before is not None else ""))
    return 0


def _rollback(place: Path, name: str, label: str) -> int:
    found = files.find(place, name)
    labels = files.labels_of(found) if found.is_dir() else {}
    if label not in labels:
        return _wrong(f"prompt {name!r} has no label {label!r}")
    document = _document(found)
    history = document.get(files.HISTORY, {})
    versions = list(history.get(label, []))
    if not versions:
        return _wrong(f"{name}: {label} has had no other version")
    version = str(versions.pop())
    files.read(found, name, version)
    if versions:
        history[label] = versions
    else:
        del history[label]
        if not history:
            del document[files.HISTORY]
    _set(document, label, version, labels[label].weight)
    _write(found, document)
    echo(f"{name}: {label} is {version} again, it was {labels[label].version}")
    return 0


def _document(place: Path) -> Any:
    """The label file as it is written, comments and all."""
    try:
        import tomlkit
    except ImportError:
        raise ConfigError("changing labels needs an extra: pip install 'llmtrace-otel[prompts]'") from None
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
    """Replace the label file in one step, after reading back what it would say."""
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


@click.command("prompts")
@click.argument("action", type=click.Choice(["list", "show", "diff", "promote", "rollback"]), default="list")
@click.argument("name", required=False)
@click.argument("versions", nargs=-1)
@click.option("--label", default=_PRODUCTION, show_default=True, help="What promote and rollback move.")
@click.option("--weight", type=Amount(100), help="Per cent of sessions that promote gives the label.")
@click.option("--folder", help="Where prompts are; by default LLMTRACE_PROMPTS.")
@click.pass_context
def command(
    ctx: click.Context,
    action: str,
    name: str | None,
    versions: tuple[str, ...],
    label: str,
    weight: float | None,
    folder: str | None,
) -> None:
    """List prompts; show NAME [VERSION]; diff NAME A B; promote NAME VERSION; rollback NAME."""
    ctx.exit(run(action, name, versions, label=label, weight=weight, folder=folder))
