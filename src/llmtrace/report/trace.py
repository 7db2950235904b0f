"""One trace as a tree and a waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from ..store.columns import is_call, measures_of
from ..store.read import TraceRow
from ..store.span_codec import StoredSpan
from ..telemetry import names
from . import formatting

_HEADINGS = ("time", "in", "out", "cost")
_WIDTHS = (7, 6, 6, 11)
_MIN_NAME_WIDTH = 16
_CONTEXT_ATTRIBUTES = (
    (names.FEATURE, "feature"),
    (names.USER, "user"),
    (names.SESSION, "session"),
    (names.TENANT, "tenant"),
)


@dataclass(frozen=True, slots=True)
class Node:
    """A span in its place in the tree."""

    span: StoredSpan
    branch: str
    """Characters drawn before its name."""
    below: str
    """Characters drawn before the notes below it."""


def tree(spans: Sequence[StoredSpan]) -> list[Node]:
    """Arrange spans below their parents, in order of their start. A span without its parent becomes a root."""
    span_ids = {span.span_id for span in spans}
    children: dict[str | None, list[StoredSpan]] = {}
    for span in sorted(spans, key=lambda span: (span.started, -span.ended)):
        children.setdefault(span.parent_id if span.parent_id in span_ids else None, []).append(span)
    nodes: list[Node] = []
    # Use a stack instead of recursion: a trace may be deeper than Python's recursion limit.
    pending = [(span, "", "") for span in reversed(children.pop(None, []))]
    while pending:
        span, branch, indent = pending.pop()
        below = children.pop(span.span_id, [])
        nodes.append(Node(span, branch, indent + ("│ " if below else "  ")))
        for child in reversed(below):
            last = child is below[-1]
            pending.append((child, indent + ("└ " if last else "├ "), indent + ("  " if last else "│ ")))
    return nodes


def waterfall(trace: TraceRow, spans: Sequence[StoredSpan], *, width: int = 80) -> RenderableType:
    """Render a trace in ``width`` columns."""
    first = min(span.started for span in spans)
    total = max(1, max(span.ended for span in spans) - first)
    bar, cells = _layout(width)
    name_width = max(4, width - bar - sum(_WIDTHS[at] for at in cells) - 2)
    lines = [_head(trace, spans), Text(), _row(Text("span"), Text(), _HEADINGS, name_width, bar, cells, style="bold")]
    for node in tree(spans):
        span = node.span
        name = Text(node.branch, style="dim") + Text(
            formatting.plain(span.name), style="red" if span.status == "ERROR" else ""
        )
        colour = "red" if span.status == "ERROR" else "cyan" if is_call(span) else "blue"
        drawn = Text(_bar(span, first, total, bar) if bar else "", style=colour)
        lines.append(_row(name, drawn, _cells(span), name_width, bar, cells))
        for note in _note_lines(span, width - len(node.below) - 2):
            lines.append(Text(f"{node.below}  {formatting.plain(note)}", style="dim"))
    return Group(*lines)


def _layout(width: int) -> tuple[int, tuple[int, ...]]:
    """Return the width of the bars and the indices of the figures that fit. Figures are never cut."""
    for bar, cells in ((max(10, min(40, width - 63)), (0, 1, 2, 3)), (0, (0, 1, 2, 3)), (0, (0, 3))):
        if width - bar - sum(_WIDTHS[at] for at in cells) - 2 >= _MIN_NAME_WIDTH:
            return bar, cells
    return 0, (3,)


def _cells(span: StoredSpan) -> tuple[str, str, str, str]:
    duration = formatting.seconds((span.ended - span.started) / 1e9)
    if not is_call(span):
        return duration, "", "", ""
    measures = measures_of(span)
    cost = measures["cost"]
    money = "-" if cost is None else formatting.money(cost / 1e12)
    return duration, formatting.count(measures["input"]), formatting.count(measures["output"]), money


def _row(
    name: Text, bar: Text, values: Sequence[str], name_width: int, width: int, cells: Sequence[int], *, style: str = ""
) -> Text:
    name.truncate(name_width, overflow="ellipsis", pad=True)
    bar.truncate(width, pad=True)
    numbers = "".join(f"{values[at]:>{_WIDTHS[at]}}" for at in cells)
    return Text(style=style).append_text(name).append(" ").append_text(bar).append(" ").append(numbers)


def notes_on(span: StoredSpan) -> list[str]:
    """Return notes on a span: streaming, cache, prompt, finish reason, documents and errors."""
    attributes = span.attributes
    notes = []
    first = attributes.get(names.STREAM_FIRST_TOKEN)
    if isinstance(first, (int, float)):
        speed = attributes.get(names.STREAM_SPEED)
        rate = f", {speed:.0f} tok/s" if isinstance(speed, (int, float)) else ""
        notes.append(f"first token {formatting.seconds(first)}{rate}")
    end = attributes.get(names.STREAM_END)
    if end not in (None, "exhausted"):
        notes.append(f"stream {end}")
    cached = attributes.get(names.USAGE["cache_read"])
    if cached:
        notes.append(f"{formatting.count(cached)} cached")
    if attributes.get(names.PROMPT_NAME):
        version = attributes.get(names.PROMPT_VERSION)
        notes.append(f"prompt {attributes[names.PROMPT_NAME]}" + (f" {version}" if version else ""))
    reasons = attributes.get(names.FINISH_REASONS)
    if reasons and list(reasons) != ["stop"]:
        notes.append(f"finish {', '.join(map(str, reasons))}")
    documents = attributes.get(names.DOCUMENT_IDS)
    if documents:
        notes.append(f"{formatting.counted(len(documents), 'document')}: {', '.join(map(str, documents[:4]))}")
    for name, title in ((names.ERROR_TYPE, "error"), (names.COST_REASON, "no cost:"), (names.RETRIES, "retries")):
        if attributes.get(name):
            notes.append(f"{title} {attributes[name]}")
    return notes


def _note_lines(span: StoredSpan, width: int) -> list[str]:
    """Return the notes on a span, joined to lines of at most ``width`` characters."""
    lines: list[str] = []
    for part in notes_on(span):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part if len(part) <= width else f"{part[: width - 1]}…")
    return lines


def _head(trace: TraceRow, spans: Sequence[StoredSpan]) -> Text:
    when = datetime.fromtimestamp(trace.started / 1e6, UTC).astimezone()
    priced = [cost for span in spans if is_call(span) and (cost := measures_of(span)["cost"]) is not None]
    money = formatting.money(sum(priced) / 1e12) if priced else "cost unknown"
    calls = formatting.counted(trace.calls, "call")
    text = Text(f"trace {trace.trace_id}", style="bold")
    duration = formatting.seconds((trace.ended - trace.started) / 1e6)
    text.append(
        f"\n{when:%Y-%m-%d %H:%M:%S %Z} · {duration} · {calls} · {money}",
        style="not bold",
    )
    context = _context_line(spans)
    if context:
        text.append(f"\n{context}", style="not bold dim")
    return text


def _context_line(spans: Sequence[StoredSpan]) -> str:
    values: dict[str, str] = {}
    for span in spans:
        for name, title in _CONTEXT_ATTRIBUTES:
            if name in span.attributes:
                values.setdefault(title, str(span.attributes[name]))
        for title, value in _tags(span.attributes):
            values.setdefault(title, value)
    return formatting.plain(" · ".join(f"{title} {value}" for title, value in values.items()))


def _tags(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tags = attributes.get(names.TAGS)
    if isinstance(tags, (list, tuple)) and tags:
        yield "tags", ", ".join(map(str, tags))
    for name, value in attributes.items():
        if name.startswith(names.TAG):
            yield name.removeprefix(names.TAG), str(value)


def _bar(span: StoredSpan, first: int, total: int, width: int) -> str:
    """Draw the span's time on a line of ``width`` characters; light blocks are the time to the first token."""
    start = min(width - 1, int((span.started - first) / total * width))
    length = max(1, min(width - start, round((span.ended - span.started) / total * width)))
    token = span.attributes.get(names.STREAM_FIRST_TOKEN)
    wait = 0
    if isinstance(token, (int, float)):
        wait = min(length - 1, round(token * 1e9 / total * width))
    return " " * start + "░" * wait + "█" * (length - wait)
