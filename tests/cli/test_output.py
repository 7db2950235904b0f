"""Output of the commands: sanitized, complete at any width, one line for an error, quiet in a closed pipe."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from llmtrace.cli import main
from llmtrace.cli.terminal import without_credentials
from llmtrace.report import formatting
from llmtrace.report.aggregate import report
from llmtrace.report.calls import read
from llmtrace.report.charts import axis_top, histogram
from llmtrace.report.compare import sample
from llmtrace.report.select import DIMENSIONS, selection
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan
from llmtrace.store.write import Writer
from traffic import traces

SOURCE = Path(llmtrace.__file__).parent
EVIL = 'x\x1b]0;owned\x07\x9b31m\x00\r\n\u2028\u202e[red]y[/red]<script>"\x7f'
STEERING = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
TEXTS = (
    "llmtrace.feature", "user.id", "session.id", "llmtrace.tenant", "gen_ai.request.model", "gen_ai.response.model",
    "gen_ai.prompt.name", "gen_ai.prompt.version", "error.type", "llmtrace.stream.end", "gen_ai.provider.name",
    "llmtrace.cost.unpriced_reason", "llmtrace.tag.region",
)  # fmt: skip


def store_spans(path: Path, spans: list[StoredSpan]) -> None:
    with closing(connect(path, write=True)) as connection:
        Writer(connection).write(spans)


def make_spans(count: int, seed: int = 7) -> list[StoredSpan]:
    return [span for trace in traces(count, seed=seed) for span in trace]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "spans.db"
    monkeypatch.setenv("LLMTRACE_STORE", str(path))
    monkeypatch.delenv("COLUMNS", raising=False)
    return path


@pytest.fixture
def hostile(store: Path) -> Path:
    """A store in which every text comes from an attacker."""
    spans = []
    for number, span in enumerate(make_spans(30)):
        attributes = {
            **span.attributes, **dict.fromkeys(TEXTS, EVIL), "gen_ai.prompt.version": f"{number % 2}{EVIL}",
            "gen_ai.response.finish_reasons": [EVIL], "tag.tags": [EVIL], f"llmtrace.tag.{EVIL}": EVIL,
            "llmtrace.retrieval.document_ids": [EVIL],
        }  # fmt: skip
        spans.append(replace(span, name=EVIL, attributes=attributes))
    store_spans(store, spans)
    return store


def test_control_sequences_do_not_reach_the_terminal(
    hostile: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No command prints control characters, escapes or changes of direction, or interprets markup."""
    page = tmp_path / "page.html"
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    (prompts / "p.md").write_text('---\na: "\\e]0;x\\a"\n---\nHello \x1b[31m \u202e\n', encoding="utf-8")
    (tmp_path / "prices.toml").write_text('[[price]]\nmodel = "\\u001b[31m"\nalias = "\\u001b[31mm"\n')
    monkeypatch.setenv("LLMTRACE_PROMPTS", str(prompts))
    lines = [
        ["report"], ["report", "--by", "model,version,end"], ["report", "--by", "tag"],
        ["report", "--by", "tag.region"], ["report", "--json"], ["report", "--csv", "--by", "model,user"],
        ["report", "--html", str(page)], ["advise"],
        ["advise", "--json"], ["trace"], ["trace", "--json"], ["tail", "--no-follow"], ["store"],
        ["compare", "version=0*", "version=1*"], ["compare", "version=0*", "version=1*", "--json"],
        ["prompts"], ["prompts", "show", "p"],
    ]  # fmt: skip
    for line in lines:
        assert main(line) == 0, line
    monkeypatch.setenv("LLMTRACE_PRICES", str(tmp_path / "prices.toml"))
    assert main(["prices"]) == 0
    for line in (["report", "--by", EVIL], ["report", "--where", EVIL], ["trace", EVIL], ["compare", EVIL, EVIL],
                 ["report", "--since", EVIL], ["prices", EVIL], ["prompts", "show", EVIL],
                 ["report", "--store", EVIL]):  # fmt: skip
        assert main(line) == 2, line
    captured = capsys.readouterr()
    for text in (captured.out, captured.err, page.read_text(encoding="utf-8")):
        assert STEERING.search(text) is None
    assert "[red]y[/red]" in captured.out
    assert "<script>" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\ufffd=1"), ("\r=1", "'\ufffd=1"), ("  =1", "'  =1"), ("\uff1d1", "'\uff1d1"), ("-5", "-5"),
        ("+5.25", "+5.25"), ("search", "search"), ("a=b", "a=b"), ("", ""), (5, 5), (-1.5, -1.5), (None, None),
        ("caf\u00e9\u3000x", "caf\u00e9\u3000x"),
    ],
)  # fmt: skip
def test_csv_cell_with_a_formula_gets_an_apostrophe(text: object, shown: object) -> None:
    """Text that begins like a formula gets an apostrophe; numbers do not."""
    assert formatting.cell(text) == shown


def test_report_csv_contains_no_formula(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This holds for every column of text."""
    store_spans(
        store, [replace(span, attributes={**span.attributes, "llmtrace.feature": "=1+1"}) for span in make_spans(3)]
    )
    assert main(["report", "--csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert row["feature"] == "'=1+1"
    assert float(row["cost_usd"]) > 0


def test_commands_print_through_one_function() -> None:
    """Commands and reports do not print directly."""
    for path in (*(SOURCE / "cli").glob("*.py"), *(SOURCE / "report").glob("*.py")):
        if path.name not in ("terminal.py", "_vendor_server.py", "__init__.py"):
            assert re.search(r"(?<![\w.])print\(|sys\.stdout\.write", path.read_text()) is None, path.name


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize(
    "line",
    [["report"], ["report", "--by", "model,version,tenant,provider"], ["report", "--by", "day"], ["trace", "--slowest"],
     ["tail", "--no-follow"], ["compare", "version=3", "version=4"], ["advise"]],
    ids=" ".join,
)  # fmt: skip
def test_figures_are_not_cut_at_any_width(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: list[str], width: int
) -> None:
    """No line is wider than the terminal, and every figure equals one of the widest output."""
    store_spans(store, make_spans(200))

    def shown(columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        assert main(line) == 0
        return capsys.readouterr().out.splitlines()

    figure = re.compile(r"[$\d][\d,.]*(?:ms|s|k|M|%|pp)?(?=\s|$)")
    wide = {each for row in shown(300) for each in figure.findall(row)}
    narrow = shown(width)
    assert max(map(len, narrow)) <= width
    if line[0] not in ("advise", "trace"):  # those have prose, which wraps
        tables = [row for row in narrow if not re.search(r"have|streams|tokens:|median|mean|sum", row)]
        assert {each for row in tables for each in figure.findall(row)} <= wide


def test_tail_prints_calls_in_order_of_their_end(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Batches of several processes arrive one after the other."""
    spans = make_spans(20)
    store_spans(store, spans[30:])
    store_spans(store, spans[:30])
    assert main(["tail", "--no-follow", "-n", "100"]) == 0
    printed = [line[:8] for line in capsys.readouterr().out.splitlines()]
    with closing(connect(store)) as connection:
        ended = sorted(
            span.ended for _, span in spans_after(connection, 0) if "chat" in span.name or "embed" in span.name
        )
    assert len(printed) == len(ended)
    from datetime import datetime

    assert printed == [f"{datetime.fromtimestamp(end / 1e9):%H:%M:%S}" for end in ended]


BRACKETS = "[" * 60_000
DIGITS = "9" * 5_000


@pytest.mark.parametrize(
    "line",
    [
        ["report", "--since", "999999d"], ["report", "--since", DIGITS], ["report", "--since", ""],
        ["report", "--since", "nan"], ["report", "--where", f"feature={BRACKETS}"], ["report", "--where", BRACKETS],
        ["report", "--where", "feature=[["], ["report", "--where", ""], ["report", "--by", ""],
        ["report", "--by", BRACKETS], ["report", "--top", DIGITS], ["report", "--top", "-1"],
        ["report", "--top", "nan"],
        ["report", "--by", "\ud800"], ["report", "--where", "feature=\ud800"], ["report", "--store", "\0"],
        ["report", "--store", "x" * 5000], ["report", "--html", ""], ["tail", "-n", DIGITS, "--no-follow"],
        ["trace", BRACKETS], ["trace", ""], ["trace", "\ud800"], ["trace", "--since", "999999w"], ["compare", "", ""],
        ["compare", BRACKETS, "a=b"], ["compare", "999999d..", "7d.."],
        ["compare", "version=3", "version=4", "--fail-if", ""],
        ["compare", "version=3", "version=4", "--fail-if", "cost +nan %"], ["store", "prune", "--max-days", "nan"],
        ["store", "prune", "--max-days", "inf"], ["store", "prune", "--max-mb", "1e400"],
        ["store", "prune", "--max-mb", "-1"], ["store", "delete"],
        ["store", "send", "--endpoint", "\0"], ["store", "send", "--endpoint", "http://["], ["store", "export", ""],
        ["store", "send", "--endpoint", "http://127.0.0.1:99999"], ["spool", "drain", "--timeout", "nan"],
        ["prompts", "promote", "a", "b", "--weight", "nan"], ["prompts", "show", BRACKETS], ["prompts", "show", "\0"],
        ["prices", ""], ["demo", "--traces", DIGITS], ["report", DIGITS], ["", ""],
    ],
    ids=lambda line: " ".join(line)[:40].encode("ascii", "backslashreplace").decode(),
)  # fmt: skip
def test_extreme_arguments_give_a_one_line_error(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    """The exit status is 2, with one short line, no traceback and no standard output."""
    store_spans(store, make_spans(3))
    monkeypatch.setattr("llmtrace.cli.resend._PATIENCE_SECONDS", 0.0)
    assert main(line) == 2
    captured = capsys.readouterr()
    if line[0] != "prices":
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        assert len(captured.err) < 900


def test_unknown_dimension_lists_every_name(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The error lists all names that ``--by`` accepts."""
    assert main(["report", "--by", "banana"]) == 2
    error = capsys.readouterr().err
    for name in DIMENSIONS:
        assert re.search(rf"\b{name}\b", error), name


def test_store_error_names_its_option_or_variable(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The option is named if it was used, else the variable."""
    assert main(["report"]) == 2
    assert "(from LLMTRACE_STORE)" in capsys.readouterr().err
    assert main(["report", "--store", str(tmp_path / "other.db")]) == 2
    assert "(from --store)" in capsys.readouterr().err
    monkeypatch.setenv("LLMTRACE_STORE", "off")
    assert main(["report"]) == 2
    assert "LLMTRACE_STORE" in capsys.readouterr().err
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.jsonl"))
    assert main(["report"]) == 2
    assert "JSON lines" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["report --by user,session --top 0", "tail --no-follow -n 1000", "report --json"])
@pytest.mark.parametrize("stop", ["head -1", "true"])
def test_closed_pipe_prints_nothing_and_exits_with_0(store: Path, command: str, stop: str) -> None:
    """``llmtrace report | head`` prints no traceback."""
    store_spans(store, make_spans(300))
    line = f'"{sys.executable}" -m llmtrace {command} | {stop}; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(SOURCE.parent)},
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def _blocked(span: StoredSpan) -> StoredSpan:
    attributes: dict[str, Any] = {
        **span.attributes, "llmtrace.outcome": "blocked", "llm.cost.total": 99.0, "llmtrace.cost.exact": "99",
    }  # fmt: skip
    return replace(span, attributes=attributes)


def test_blocked_calls_are_counted_separately(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """This holds in the report, its page, JSON and CSV, in ``compare`` and in ``advise``."""
    store_spans(store, make_spans(100))
    with closing(connect(store)) as connection:
        before = report(connection, selection(), ("feature",))
        sides = sample(connection, selection())
    refused = [_blocked(span) for span in make_spans(20, seed=9) if "gen_ai.usage.input_tokens" in span.attributes]
    store_spans(store, [replace(span, trace_id=span.trace_id[::-1]) for span in refused])
    with closing(connect(store)) as connection:
        after = report(connection, selection(), ("feature",))
        assert sample(connection, selection()).calls == sides.calls
        assert len(read(connection, selection())) == sides.calls + len(refused)
    assert {**after.total.as_dict(), "blocked": 0} == before.total.as_dict()
    assert after.total.blocked == len(refused) == sum(group.blocked for _, group in after.rows)
    for (key, group), (other, expected) in zip(after.rows, before.rows, strict=True):
        assert key == other
        assert {**group.as_dict(), "blocked": 0} == expected.as_dict()
    assert main(["report"]) == 0
    assert f"{len(refused)} calls were blocked by a budget" in capsys.readouterr().out
    assert main(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["blocked"] == len(refused)


def test_missing_usage_names_the_setting_that_requests_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """OpenAI's streams report usage on request only."""
    reason = {"llmtrace.cost.unpriced_reason": "no_usage"}
    cost = ("llm.cost.total", "llmtrace.cost.exact")
    spans = [
        replace(span, attributes={**{k: v for k, v in span.attributes.items() if k not in cost}, **reason})
        for span in make_spans(3)
    ]
    store_spans(store, spans)
    assert main(["report"]) == 0
    assert "LLMTRACE_STREAM_USAGE=auto" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("largest", [1, 2, 3, 5, 7, 9, 11, 14, 15, 29, 99, 101, 150, 999, 1_499, 12_345])
def test_middle_of_a_histogram_axis_is_an_integer(largest: int) -> None:
    """A tick at 7.5 would be labelled 8."""
    top = axis_top(largest, even=True)
    assert top >= largest * 0.9999
    assert top % 2 == 0
    chart = histogram([largest], ["a"], (), "t")
    assert [int(label.replace(",", "")) for label in (chart.top, chart.middle)] == [top, top / 2]


def test_constants_are_defined_once() -> None:
    """A second assignment in a module would hide the first."""
    for path in SOURCE.rglob("*.py"):
        names = re.findall(r"^([A-Z_][A-Z0-9_]+)(?:: [^=]+)? = ", path.read_text(), re.MULTILINE)
        assert len(names) == len(set(names)), path


@pytest.mark.parametrize(("number", "shown"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls"), (12_345, "12,345 calls")])
def test_count_of_one_is_singular(number: int, shown: str) -> None:
    """ "1 calls" is never printed."""
    assert formatting.counted(number, "call") == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host:4318/v1/traces?token=secret", "https://host:4318/v1/traces"),
        ("redis://:se/c#r?et@host/0", "redis://host/0"),
        ("http://host:4318", "http://host:4318"),
        ("/var/lib/me@host/spans.db", "/var/lib/me@host/spans.db"),
    ],
)
def test_addresses_are_shown_without_credentials(text: str, shown: str) -> None:
    """User name, password and query of a URL are left out; other text is not changed."""
    assert without_credentials(text) == shown
