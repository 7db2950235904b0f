"""One trace as a tree beside a waterfall."""

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

__all__ = ["Node", "about", "tree", "waterfall"]

_HEADINGS = ("time", "in", "out", "cost")
_WIDTHS = (7, 6, 6, 11)
_LEAST_NAME = 16
_SCOPE = ((names.FEATURE, "feature"), (names.USER, "user"), (names.SESSION, "session"), (names.TENANT, "tenant"))


@dataclass(frozen=True, slots=True)
class Node:
    """A span in its place in the tree."""

    span: StoredSpan
    branch: str
    """What is drawn before its name."""
    below: str
    """What is drawn before the lines that belong to it."""


def tree(spans: Sequence[StoredSpan]) -> list[Node]:
    """The spans, each below its parent, in the order in which they began. One whose parent is elsewhere is a root."""
    known = {span.span_id for span in spans}
    children: dict[str | None, list[StoredSpan]] = {}
    for span in sorted(spans, key=lambda span: (span.started, -span.ended)):
        children.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)
    nodes: list[Node] = []
    # Without recursion: a trace may be deeper than Python's stack.
    waiting = [(span, "", "") for span in reversed(children.pop(None, []))]
    while waiting:
        span, branch, indent = waiting.pop()
        below = children.pop(span.span_id, [])
        nodes.append(Node(span, branch, indent + ("│ " if below else "  ")))
        for child in reversed(below):
            last = child is below[-1]
            waiting.append((child, indent + ("└ " if last else "├ "), indent + ("  " if last else "│ ")))
    return nodes


def waterfall(trace: TraceRow, spans: Sequence[StoredSpan], *, width: int = 80) -> RenderableType:
    """The trace in so many columns."""
    first = min(span.started for span in spans)
    whole = max(1, max(span.ended for span in spans) - first)
    bar, cells = _layout(width)
    room = max(4, width - bar - sum(_WIDTHS[at] for at in cells) - 2)
    lines = [_head(trace, spans), Text(), _row(Text("span"), Text(), _HEADINGS, room, bar, cells, style="bold")]
    for node in tree(spans):
        span = node.span
        name = Text(node.branch, style="dim") + Text(
            formatting.plain(span.name), style="red" if span.status == "ERROR" else ""
        )
        drawn = Text(_bar(span, first, whole, bar) if bar else "", style=_colour(span))
        lines.append(_row(name, drawn, _cells(span), room, bar, cells))
        for note in _notes(span, width - len(node.below) - 2):
            lines.append(Text(f"{node.below}  {formatting.plain(note)}", style="dim"))
    return Group(*lines)


def _layout(width: int) -> tuple[int, tuple[int, ...]]:
    """Return the width of the bars, and which figures there is room for: they are shown whole or not at all."""
    for bar, cells in ((max(10, min(40, width - 63)), (0, 1, 2, 3)), (0, (0, 1, 2, 3)), (0, (0, 3))):
        if width - bar - sum(_WIDTHS[at] for at in cells) - 2 >= _LEAST_NAME:
            return bar, cells
    return 0, (3,)


def _cells(span: StoredSpan) -> tuple[str, str, str, str]:
    lasted = formatting.seconds((span.ended - span.started) / 1e9)
    if not is_call(span):
        return lasted, "", "", ""
    told = measures_of(span)
    cost = told["cost"]
    money = "-" if cost is None else formatting.money(cost / 1e12)
    return lasted, formatting.count(told["input"]), formatting.count(told["output"]), money


def _row(
    name: Text, bar: Text, told: Sequence[str], room: int, width: int, cells: Sequence[int], *, style: str = ""
) -> Text:
    name.truncate(room, overflow="ellipsis", pad=True)
    bar.truncate(width, pad=True)
    numbers = "".join(f"{told[at]:>{_WIDTHS[at]}}" for at in cells)
    return Text(style=style).append_text(name).append(" ").append_text(bar).append(" ").append(numbers)


def about(span: StoredSpan) -> list[str]:
    """What there is to say of a span beyond its row, one thing each."""
    told = span.attributes
    found = []
    first = told.get(names.STREAM_FIRST_TOKEN)
    if isinstance(first, (int, float)):
        speed = told.get(names.STREAM_SPEED)
        rate = f", {speed:.0f} tok/s" if isinstance(speed, (int, float)) else ""
        found.append(f"first token {formatting.seconds(first)}{rate}")
    end = told.get(names.STREAM_END)
    if end not in (None, "exhausted"):
        found.append(f"stream {end}")
    cached = told.get(names.USAGE["cache_read"])
    if cached:
        found.append(f"{formatting.count(cached)} cached")
    if told.get(names.PROMPT_NAME):
        version = told.get(names.PROMPT_VERSION)
        found.append(f"prompt {told[names.PROMPT_NAME]}" + (f" {version}" if version else ""))
    reasons = told.get(names.FINISH_REASONS)
    if reasons and list(reasons) != ["stop"]:
        found.append(f"finish {', '.join(map(str, reasons))}")
    documents = told.get(names.DOCUMENT_IDS)
    if documents:
        found.append(f"{formatting.counted(len(documents), 'document')}: {', '.join(map(str, documents[:4]))}")
    for name, title in ((names.ERROR_TYPE, "error"), (names.COST_REASON, "no cost:"), (names.RETRIES, "retries")):
        if told.get(name):
            found.append(f"{title} {told[name]}")
    return found


def _notes(span: StoredSpan, width: int) -> list[str]:
    """What there is to say, in lines of that width."""
    lines: list[str] = []
    for part in about(span):
        if lines and len(lines[-1]) + len(part) + 3 <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part if len(part) <= width else f"{part[: width - 1]}…")
    return lines


def _head(trace: TraceRow, spans: Sequence[StoredSpan]) -> Text:
    when = datetime.fromtimestamp(trace.started / 1e6, UTC).astimezone()
    priced = [cost for span in spans if is_call(span) and (cost := measures_of(span)["cost"]) is not None]
    money = formatting.money(sum(priced) / 1e12) if priced else "no cost known"
    calls = formatting.counted(trace.calls, "call")
    text = Text(f"trace {trace.trace_id}", style="bold")
    lasted = formatting.seconds((trace.ended - trace.started) / 1e6)
    text.append(
        f"\n{when:%Y-%m-%d %H:%M:%S %Z} · {lasted} · {calls} · {money}",
        style="not bold",
    )
    scope = _scope(spans)
    if scope:
        text.append(f"\n{scope}", style="not bold dim")
    return text


def _scope(spans: Sequence[StoredSpan]) -> str:
    told: dict[str, str] = {}
    for span in spans:
        for name, title in _SCOPE:
            if name in span.attributes:
                told.setdefault(title, str(span.attributes[name]))
        for title, value in _tags(span.attributes):
            told.setdefault(title, value)
    return formatting.plain(" · ".join(f"{title} {value}" for title, value in told.items()))


def _tags(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tags = attributes.get(names.TAGS)
    if isinstance(tags, (list, tuple)) and tags:
        yield "tags", ", ".join(map(str, tags))
    for name, value in attributes.items():
        if name.startswith(names.TAG):
            yield name.removeprefix(names.TAG), str(value)


def _colour(span: StoredSpan) -> str:
    if span.status == "ERROR":
        return "red"
    return "cyan" if is_call(span) else "blue"


def _bar(span: StoredSpan, first: int, whole: int, width: int) -> str:
    """The span's time on a line of that width; the light part of a stream is the wait for its first token."""
    start = min(width - 1, int((span.started - first) / whole * width))
    length = max(1, min(width - start, round((span.ended - span.started) / whole * width)))
    token = span.attributes.get(names.STREAM_FIRST_TOKEN)
    wait = 0
    if isinstance(token, (int, float)):
        wait = min(length - 1, round(token * 1e9 / whole * width))
    return " " * start + "░" * wait + "█" * (length - wait)
