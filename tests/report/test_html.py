"""The report page: one file without external resources, with escaped text."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from llmtrace.report.charts import axis_top
from llmtrace.report.html import render
from llmtrace.report.select import selection
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan
from llmtrace.store.write import Writer
from traffic import traces


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "link", "line"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(path: Path, spans: list[StoredSpan], *by: str) -> str:
    with closing(connect(path, write=True)) as connection:
        Writer(connection).write(spans)
        text = render(connection, selection(), by)
    assert text is not None
    return text


def test_page_is_self_contained_and_well_formed(tmp_path: Path) -> None:
    """Tags are balanced; there is no script and nothing that a browser would fetch."""
    text = page(tmp_path / "s.db", [span for trace in traces(300) for span in trace], "feature")
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not {"script", "img", "iframe", "object", "style src"} & set(tags.names)
    assert not re.search(r"""(?:src|href)=["'](?!data:)|url\(|@import|https?:""", text)
    assert text.count("<svg") == 3
    assert "default-src 'none'" in text


def test_page_escapes_names(tmp_path: Path) -> None:
    """Markup in the name of a feature or span is shown as text, and a control character is replaced."""
    evil = "</td><script>alert(1)</script>\x1b"
    spans = [
        replace(span, name=evil, attributes={**span.attributes, "llmtrace.feature": evil, "gen_ai.request.model": evil})
        for trace in traces(20)
        for span in trace
    ]
    text = page(tmp_path / "s.db", spans, "feature")
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\ufffd" in text


@pytest.mark.parametrize(("by", "labels"), [("hour", 6), ("month", 26), ("week", 20), ("day", 9)])
def test_cost_chart_has_every_label(tmp_path: Path, by: str, labels: int) -> None:
    """For each unit, small features share one colour, and hidden rows are counted."""
    step = {"hour": 3600, "day": 86400, "week": 7 * 86400, "month": 31 * 86400}[by] * 10**9
    (trace,) = traces(1)
    dear = next(span for span in trace if span.attributes.get("llm.cost.total"))
    spans = [
        replace(
            dear, trace_id=f"{number + 1:032x}", parent_id=None, started=dear.started + number % labels * step,
            ended=dear.ended + number % labels * step,
            attributes={**dear.attributes, "llmtrace.feature": f"feature-{number}", "user.id": f"user-{number}"},
        )
        for number in range(120)
    ]  # fmt: skip
    text = page(tmp_path / "s.db", spans, by, "user")
    assert f"cost by {by} and feature" in text
    assert "others" in text
    assert re.search(r"and \d+ more", text)


def test_page_of_a_selection_lists_its_traces(tmp_path: Path) -> None:
    """The most expensive traces are those that contain selected calls."""
    spans = [span for trace in traces(30) for span in trace]
    with closing(connect(tmp_path / "s.db", write=True)) as connection:
        Writer(connection).write(spans)
        text = render(connection, selection(where=["feature=search"]), ())
    assert text is not None
    wanted = {span.trace_id[:12] for span in spans if span.attributes.get("llmtrace.feature") == "search"}
    others = {span.trace_id[:12] for span in spans} - wanted
    assert any(trace in text for trace in wanted)
    assert not any(trace in text for trace in others)


def test_page_of_calls_without_attributes_is_rendered(tmp_path: Path) -> None:
    """One call without attributes gives a page, an empty selection none."""
    span = StoredSpan("1" * 32, "2" * 16, None, "chat", 10**18, 10**18, attributes={"gen_ai.operation.name": "chat"})
    assert "<table" in page(tmp_path / "s.db", [span])
    with closing(connect(tmp_path / "s.db")) as store:
        assert render(store, selection(where=["feature=none"]), ("feature",)) is None


@pytest.mark.parametrize(("largest", "top"), [(0, 1), (1, 1), (1.01, 1.5), (7, 8), (99, 100), (0.0031, 0.004)])
def test_axis_ends_at_a_round_number(largest: float, top: float) -> None:
    """The top of an axis is the next round number."""
    assert axis_top(largest) == pytest.approx(top)
