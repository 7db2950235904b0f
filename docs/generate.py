"""Write the parts of the reference that the code knows, and the changelog: ``python docs/generate.py``.

A part stands between two comments of its page, ``<!-- generated: NAME -->`` and ``<!-- end -->``. The meaning of an
attribute or a metric, which the code does not have, is in ``names.toml``, and what the trace of a framework contains
in ``frameworks.toml``.
"""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
from opentelemetry.metrics import MeterProvider

import llmtrace
from llmtrace import ConfigError, Settings
from llmtrace._settings import _READERS
from llmtrace.cli.commands import _COMMANDS, _llmtrace
from llmtrace.cli.other_instrumentation import advice_for
from llmtrace.export.exporter_metrics import observe_stats
from llmtrace.integrations.registry import INTEGRATIONS
from llmtrace.providers.registry import PROVIDERS
from llmtrace.telemetry import names
from llmtrace.telemetry.metrics import _Instruments

DOCS = Path(__file__).resolve().parent
CHANGELOG = DOCS.parent / "CHANGELOG.md"
MEANINGS: dict[str, dict[str, list[str]]] = tomllib.loads((DOCS / "names.toml").read_text())
FRAMEWORKS: dict[str, dict[str, Any]] = tomllib.loads((DOCS / "frameworks.toml").read_text())
PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
SETTINGS = {
    "General": ("enabled", "clients", "native_spans", "strict"),
    "Prompts and responses": (*("capture_content", "content_max_bytes", "content_blobs", "redact", "error_messages"),),
    "Money": (*("prices", "budgets", "budget_store", "stream_usage", "stream_usage_hosts", "estimate_usage"),),
    "Context": ("prompts", "baggage_keys", "rollup"),
    "Destinations": ("bridges", "spool", "spool_max_mb", "flush_timeout", "handle_sigterm"),
    "Local store": ("store", "store_max_mb", "store_max_days", "fingerprints"),
    "Metrics": ("metrics", "metric_dimensions"),
}
PAGES = {
    "record-content": ("capture_content", "content_max_bytes", "content_blobs"),
    "redact": ("redact",),
    "own-prices": ("prices",),
    "budgets": ("budgets", "budget_store"),
    "missing-token-counts": ("stream_usage", "stream_usage_hosts", "estimate_usage"),
    "prompts-in-git": ("prompts",),
    "tag-calls": ("baggage_keys",),
    "tools-and-agents": ("rollup",),
    "backends/index": ("bridges",),
    "anthropic": ("native_spans",),
    "report": ("fingerprints",),
    "test": ("strict",),
    "../explanation/delivery": ("spool", "spool_max_mb", "flush_timeout", "handle_sigterm"),
    "../reference/store": ("store", "store_max_mb", "store_max_days"),
    "../reference/metrics": ("metrics", "metric_dimensions"),
    "../reference/conventions": ("cost_attributes",),
}
"""Pages that explain settings, from the folder ``how-to``."""
MATRIX: dict[str, Any] = tomllib.loads((DOCS.parent / "tests" / "others" / "matrix.toml").read_text())
_OUTCOMES = {
    "joined": ("1, the package's", "the same"),
    "own": ("1, llmtrace's", "the same"),
    "twice": ("2", "llmtrace's"),
    "frameworks": ("2, both the package's", "one of them"),
    "no_cost": ("1, the package's", "none"),
}
"""Outcomes in the matrix of other instrumentation: the spans with tokens, and those with cost and tags."""
NOT_ATTRIBUTES = ("METRIC_",)
EVENTS = (names.EVALUATION, names.DETAILS_EVENT, names.CALL_EXCEPTION, names.EXCEPTION)


def table(heading: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table, which a phone shows as blocks."""
    lines = [heading, ("---",) * len(heading), *rows]
    return "".join(
        ['<div class="stacked" markdown>\n\n', *(f"| {' | '.join(line)} |\n" for line in lines), "\n</div>\n"]
    )


def settings() -> str:
    """Return every setting with its argument, default, accepted values and effect."""
    effects = dict(re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", _arguments(), re.MULTILINE | re.DOTALL))
    grouped = {name for group in SETTINGS.values() for name in group}
    groups = SETTINGS | {"Other": tuple(field.name for field in fields(Settings) if field.name not in grouped)}
    text = ""
    for title, members in groups.items():
        if members:
            text += f"### {title}\n\n"
        for name in members:
            effect = " ".join(effects[name].split()).replace("``", "`")
            text += f"#### `LLMTRACE_{name.upper()}`\n\n{effect}\n\n"
            text += f"Argument: `{name}`. Default: {_default(name)}. Accepted: {_accepted(name)}.{_more(name)}\n\n"
    return text


def _arguments() -> str:
    documentation = inspect.getdoc(llmtrace.instrument) or ""
    return documentation[documentation.index("Args:") : documentation.index("Returns:")]


def _default(name: str) -> str:
    value = getattr(Settings(), name)
    if name == "clients":
        return "all"
    if name in ("store", "spool"):
        return "in the user's state folder"
    if value is None or value in ((), ""):
        return {"capture_content": "`no_content`"}.get(name, "none")
    if isinstance(value, tuple):
        value = ",".join(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _accepted(name: str) -> str:
    if name == "clients":
        supported = ", ".join(f"`{each.name}`" for each in (*PROVIDERS, *INTEGRATIONS))
        return f"a comma list of {supported}; a leading `-` leaves one out"
    try:
        _READERS[name](name, object())
    except ConfigError as error:
        return str(error).partition("; use ")[2].rstrip(".")
    raise AssertionError(name)


def _more(name: str) -> str:
    for page, members in PAGES.items():
        if name in members:
            file = (DOCS / "how-to" / f"{page}.md").resolve()
            title = file.read_text().partition("\n")[0].removeprefix("# ")
            return f" More: [{title}]({os.path.relpath(file, DOCS / 'reference')})."
    return ""


def attributes() -> str:
    """Return every attribute with its type and meaning, by group."""
    text = ""
    for title, members in MEANINGS.items():
        if title not in ("Metrics", "Events"):
            rows = [(f"`{name}`", kind, meaning) for name, (kind, meaning) in members.items()]
            text += f"### {title}\n\n{table(('attribute', 'type', 'meaning'), rows)}\n"
    rows = [(f"`{name}`", where, meaning) for name, (where, meaning) in MEANINGS["Events"].items()]
    return f"{text}### Events\n\n{table(('event', 'where', 'meaning'), rows)}\n"


def attribute_names() -> set[str]:
    """Return the names of attributes and events in ``llmtrace.telemetry.names``. A prefix ends with a dot."""
    constants = {name: value for name, value in vars(names).items() if name.isupper()}
    found: set[str] = set()
    for name, value in constants.items():
        if not name.startswith(NOT_ATTRIBUTES):
            values = value.values() if isinstance(value, dict) else (value,)
            for member in values:
                found |= {member} if isinstance(member, str) else set(member) if isinstance(member, tuple) else set()
    return found


class _Meter:
    """A meter that remembers the instruments it creates."""

    def __init__(self) -> None:
        self.instruments: dict[str, tuple[str, str]] = {}

    def __getattr__(self, method: str) -> Any:
        kind = method.removeprefix("create_").removeprefix("observable_")

        def create(name: str, *arguments: Any, **_: Any) -> _Meter:
            unit = next(value for value in arguments if isinstance(value, str))
            self.instruments[name] = kind, unit
            return self

        return create


class _Provider(MeterProvider):
    def __init__(self) -> None:
        self.meter = _Meter()

    def get_meter(self, name: str, *_: Any, **__: Any) -> Any:
        return self.meter


class _NoCounts:
    def counts(self) -> list[Any]:
        return []


def instruments() -> dict[str, tuple[str, str]]:
    """Return kind and unit of every metric."""
    provider = _Provider()
    _Instruments(provider, "both")
    observe_stats(provider, _NoCounts())
    return provider.meter.instruments


def metrics() -> str:
    """Return every metric with its kind, unit and meaning."""
    meanings = MEANINGS["Metrics"]
    rows = [(f"`{name}`", kind, unit, meanings[name][0]) for name, (kind, unit) in instruments().items()]
    return table(("metric", "kind", "unit", "meaning"), rows)


def commands() -> str:
    """Return the help of every command."""
    return "\n".join(f"### {title}\n\n```text\n{text}\n```\n" for title, text in _helps())


def _helps() -> Iterator[tuple[str, str]]:
    group: click.Group = _llmtrace
    parent = click.Context(group, info_name="llmtrace", **group.context_settings)
    for name in _COMMANDS:
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, terminal_width=80, max_content_width=80)
        yield f"llmtrace {name}", command.get_help(context)
        if isinstance(command, click.Group):
            for inner in command.list_commands(context):
                sub = command.get_command(context, inner)
                assert sub is not None
                inside = click.Context(sub, info_name=inner, parent=context, terminal_width=80, max_content_width=80)
                yield f"llmtrace {name} {inner}", sub.get_help(inside)


def decisions() -> str:
    """Return a list of all decisions."""
    pages = sorted((DOCS / "decisions").glob("*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in pages]
    return "".join(f"- [{title}](../decisions/{page.name})\n" for page, title in zip(pages, titles, strict=True))


def frameworks() -> str:
    """Return the frameworks and vector stores, with the name of the bridge of those that have one."""
    bridges = {each.name for each in INTEGRATIONS}
    assert bridges <= FRAMEWORKS.keys()
    rows = []
    for name, row in FRAMEWORKS.items():
        releases = row["tested"].replace("`", "").replace(", ", "<br>")
        # On a phone, the columns have no headings.
        title = f"{row['title']}<br>`{name}`" if name in bridges else row["title"]
        rows.append((title, releases, row["contains"], f"not {row['missing']}"))
    return table(("framework and its bridge", "tested", "its trace contains", "and what it does not"), rows)


def unreleased() -> str:
    """Return the changes since the last release, from the fragments in ``changelog.d``."""
    if not list((DOCS.parent / "changelog.d").glob("*.md")):
        return ""
    command = ["-m", "towncrier", "build", "--draft", "--version", "Unreleased", "--date", ""]
    draft = subprocess.run(
        [sys.executable, *command], cwd=DOCS.parent, check=True, capture_output=True, encoding="utf-8"
    )
    return f"{draft.stdout.strip()}\n"


def instrumentations() -> str:
    """Return what the spans of a call have with each other instrumentation, from the matrix that is tested."""
    rows = [
        (
            package["name"] if not index else "",
            "all" if len(calls) == len(MATRIX["calls"]) else ", ".join(calls),
            *_OUTCOMES[outcome],
        )
        for package in MATRIX["packages"].values()
        for index, (outcome, calls) in enumerate(package["outcomes"].items())
    ]
    return table(("package", "calls", "spans with tokens", "cost and tags on"), rows)


def conflicts() -> str:
    """Return the tested version of each other instrumentation, and the advice of ``llmtrace doctor``."""
    pinned = [
        requirement.partition("==") for package in MATRIX["packages"].values() for requirement in package["install"]
    ]
    rows = [(f"`{name}`", version, advice) for name, _, version in pinned if (advice := advice_for(name)) is not None]
    return table(("package", "version", "what to do"), rows)


PARTS = {
    "instrumentations": instrumentations,
    "conflicts": conflicts,
    "settings": settings,
    "attributes": attributes,
    "metrics": metrics,
    "commands": commands,
    "decisions": decisions,
    "frameworks": frameworks,
    "unreleased": unreleased,
}


def pages() -> list[Path]:
    """Return the files that may have generated parts."""
    return [*DOCS.rglob("*.md"), CHANGELOG]


def written(page: Path) -> str:
    """Return the text of a page with its parts as the code has them now."""
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part[2]]()}\n{part[3]}", page.read_text())


def main() -> None:
    """Write every page that has generated parts."""
    for page in pages():
        text = written(page)
        if text != page.read_text():
            page.write_text(text)
            print(f"wrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
