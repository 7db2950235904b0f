"""The command line in a pipe, in a terminal, and with user errors."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import llmtrace
from export.backend import Backend
from llmtrace.cli import main
from llmtrace.store.schema import connect
from llmtrace.store.write import Writer
from traffic import traces

SOURCE = str(Path(llmtrace.__file__).parents[1])
NAMES = (
    "llmtrace.feature", "user.id", "gen_ai.request.model", "llmtrace.stream.end", "llmtrace.cost.unpriced_reason",
    "gen_ai.prompt.name", "error.type",
)  # fmt: skip
PINNED = dict.fromkeys(("gen_ai.request.model", "gen_ai.response.model"), "gpt-4.1-mini-2025-04-14")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "spans.db"
    with closing(connect(path, write=True)) as connection:
        Writer(connection).write([span for trace in traces(200) for span in trace])
    monkeypatch.setenv("LLMTRACE_STORE", str(path))
    monkeypatch.delenv("COLUMNS", raising=False)
    return path


@pytest.mark.parametrize(
    "line",
    [
        ["report"], ["report", "--by", "model,version,tenant,provider"], ["report", "--by", "user", "--top", "3"],
        ["report", "--by", "day"], ["trace"], ["trace", "--most-expensive"], ["tail", "--no-follow", "-n", "5"],
        ["compare", "version=3", "version=4"], ["advise"], ["--help"], ["report", "--help"], ["compare", "--help"],
        ["run", "--help"], ["store", "--help"], ["store", "send", "--help"], ["tail", "--help"], ["demo", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_output_to_a_pipe_has_80_columns_without_colour(
    store: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    """No line is longer than 80 columns or contains an escape sequence, and no figure is cut."""
    assert main(line) == 0
    captured = capsys.readouterr()
    assert captured.out
    assert "\x1b" not in captured.out
    assert max(map(len, captured.out.splitlines())) <= 80
    assert captured.err == ""
    for shown in captured.out.splitlines():
        assert "$…" not in shown


def _in_a_terminal(line: list[str], **variables: str) -> str:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": SOURCE, **variables}
    process = subprocess.Popen(line, stdout=slave, stderr=subprocess.DEVNULL, stdin=slave, env=environment)
    os.close(slave)
    captured = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        captured += part
    assert process.wait(30) == 0
    os.close(master)
    return captured.decode()


def test_terminal_output_has_colours_unless_no_color_is_set(store: Path) -> None:
    """A terminal gets colours, but not with NO_COLOR."""
    line = [sys.executable, "-m", "llmtrace", "trace"]
    assert "\x1b[36m" in _in_a_terminal(line)
    assert "\x1b[36m" not in _in_a_terminal(line, NO_COLOR="1")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (["nonsense"], "No such command"),
        (["report", "--by", "colour"], "'colour' is not a valid dimension"),
        (["report", "--since", "soon"], "is not a valid time"),
        (["report", "--where", "x"], "name=value"),
        (["report", "--store", "/nowhere/spans.db"], "llmtrace demo"),
        (["report", "--store", __file__], "from --store"),
        (["report", "--where", "feature=none"], "no calls match"),
        (["report", "--html", "/nowhere/at/all.html"], "cannot write"),
        (["report", "--bogus"], "llmtrace report --help"),
        (["trace", "zz"], "hexadecimal"),
        (["trace", "--since", "2099-01-01"], "no trace matches"),
        (["compare", "a", "b"], "is not a valid side to compare"),
        (["compare", "version=3", "version=9"], "no calls match version=9"),
        (["compare", "version=3", "version=4", "--fail-if", "x"], "--fail-if"),
        (["run"], "Missing the program"),
        (["run", "-m"], "Missing the program"),
        (["run", "--bogus"], "was not found"),
        (["run", "nowhere.py"], "nowhere.py does not exist"),
        (["run", "no-such-command"], "was not found"),
        (["store", "send"], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (["store", "export", "x.csv"], ".parquet"),
        (["store", "--store", "off"], "the store is off"),
        (["advise", "--where", "feature=none"], "no calls match"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_user_error_is_one_line_with_a_remedy(
    store: Path, capsys: pytest.CaptureFixture[str], line: list[str], expected: str
) -> None:
    """Exit status 2, nothing on standard output, one line on standard error, no traceback."""
    assert main(line) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("llmtrace: ")
    assert captured.err.count("\n") == 1
    assert expected in captured.err


def test_json_and_csv_have_the_same_figures(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both contain every figure of every group in full."""
    assert main(["report", "--by", "feature,model", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert main(["report", "--by", "feature,model", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in data["rows"]] == rows
    assert data["total"]["calls"] == sum(row["calls"] for row in data["rows"]) == 400


def test_advice_and_traces_as_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON contains every printed finding in full, and the spans of a trace."""
    assert main(["advise"]) == 0
    printed = capsys.readouterr().out
    assert main(["advise", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)
    assert findings
    for each in findings:
        assert f"{each['calls']:,} {each['title']}" in printed
        assert each.keys() >= {"saving_usd", "do", "where", "examples"}
        assert all(where.keys() == {"where", "calls", "saving_usd"} for where in each["where"])
        assert "saving" not in each
    assert main(["trace", "--json"]) == 0
    spans = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({span["trace_id"] for span in spans}) == 1
    assert [span["parent_id"] for span in spans].count(None) == 1


def test_advise_without_findings_prints_no_advice(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A single call gives no advice; an empty selection gives no report, no page and no tail."""
    assert main(["store", "prune", "--max-days", "0.001"]) == 0
    (spans,) = traces(1)
    lone = next(span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat")
    with closing(connect(store, write=True)) as connection:
        Writer(connection).write([replace(lone, attributes={**lone.attributes, **PINNED})])
    capsys.readouterr()
    assert main(["advise"]) == 0
    assert "No advice." in capsys.readouterr().out
    assert main(["report", "--where", "feature=none"]) == 2
    assert main(["report", "--html", str(store.with_suffix(".html")), "--where", "feature=none"]) == 2
    assert capsys.readouterr().err.count("no calls match") == 2
    assert not store.with_suffix(".html").exists()
    assert main(["report", "--html", str(store.with_suffix(".html"))]) == 0
    assert store.with_suffix(".html").as_uri() in capsys.readouterr().out
    connect(store.with_name("empty.db"), write=True).close()
    assert main(["tail", "--no-follow", "--store", str(store.with_name("empty.db"))]) == 2
    assert "the store is empty" in capsys.readouterr().err


def test_tail_prints_new_calls(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that end while it runs are printed once, until Control-C."""
    (spans,) = traces(1, seed=9)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            with closing(connect(store, write=True)) as connection:
                Writer(connection).write([replace(span, trace_id="e" * 32, name=f"late {span.name}") for span in spans])
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("llmtrace.cli.tail.time.sleep", pause)
    assert main(["tail", "-n", "0"]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert all(" late " in line for line in lines)
    assert len(lines) == sum(span.attributes.get("gen_ai.operation.name") in ("chat", "embeddings") for span in spans)


def test_damaged_store_is_a_one_line_error(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Damage beyond the first page is reported in the same way."""
    content = store.read_bytes()
    store.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    assert main(["report"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("llmtrace: cannot read the store: ")
    assert captured.err.count("\n") == 1


def test_missing_command_prints_help(capsys: pytest.CaptureFixture[str]) -> None:
    """The help goes to standard error, because no command ran."""
    assert main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Commands:" in captured.err


@pytest.mark.parametrize("terminal", [False, True])
def test_store_send_and_export_report_their_counts(
    terminal: bool, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each span is sent once, a time window on request; a terminal shows the progress."""
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    with Backend().up() as backend:
        send = ["store", "send", "--endpoint", backend.url]
        assert main(send) == 0
        assert main(send) == 0
        assert len(backend.names) <= backend.names.total() == 600
        assert main([*send, "--since", "2026-06-01", "--until", "2099-01-01"]) == 0
        backend.mode = 400
        assert main([*send, "--again"]) == 2
    captured = capsys.readouterr()
    assert main(["report"]) == 0
    assert ("Reading the store ..." in capsys.readouterr().err) is terminal
    assert captured.out.startswith(f"sent 600 spans to {backend.url}\nsent 0 spans to {backend.url}\nsent ")
    assert "did not accept the spans: 0 were sent; run the command again for the rest" in captured.err
    assert ("Sending" in captured.err) is terminal
    file = store.with_suffix(".parquet")
    pytest.importorskip("pyarrow")
    assert main(["store", "export", str(file)]) == 0
    assert main(["store", "prune", "--max-mb", "0.1"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith(f"wrote 600 spans to {file}\nremoved ")
    assert file.stat().st_size > 0
    assert ("Removing" in captured.err) is terminal


@pytest.mark.parametrize(
    "evil", ["\x1b]0;owned\x07\x1b[2J", "[red]x[/red] [/]", "m" * 10_240, "a\nb\tc\r", "\u202eabc"]
)
def test_control_characters_in_names_are_replaced(store: Path, capsys: pytest.CaptureFixture[str], evil: str) -> None:
    """Escape sequences, markup and long names are printed literally and keep the layout."""
    (spans,) = traces(1, seed=5)
    renamed = [replace(span, name=evil, attributes={**span.attributes, **dict.fromkeys(NAMES, evil)}) for span in spans]
    with closing(connect(store, write=True)) as connection:
        Writer(connection).write(renamed)
    lines = [["report"], ["trace", spans[0].trace_id], ["tail", "--no-follow"], ["advise"]]
    for line in (*lines, ["report", "--by", "user,end"], ["compare", "version=3", "version=4"]):
        assert main(line) == 0, line
    out = capsys.readouterr().out
    assert "\u202e" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "\x07" not in out


def test_closed_pipe_is_not_an_error(store: Path) -> None:
    """``llmtrace report | head -1`` prints no traceback."""
    line = f'"{sys.executable}" -m llmtrace report --by user,session --top 0 | head -1'
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert done.stderr == ""


def test_compare_above_its_limit_exits_with_1(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exceeded limit is named."""
    dearer = ["compare", "model=gpt-4.1-mini", "model=gpt-4.1", "--where", "feature=search"]
    assert main([*dearer, "--fail-if", "cost +500 %"]) == 0
    assert main([*dearer, "--fail-if", "cost +10 %", "--json"]) == 1
    captured = capsys.readouterr()
    assert "cost +10 %" in captured.err
    assert main(["compare", "2026-01-01..2026-06-02", "2026-06-02..", "--fail-if", "cost +100 %"]) == 0


def test_store_command_describes_and_prunes(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints path and size, and prunes to the requested limit."""
    assert main(["store"]) == 0
    assert "400 calls, 600 spans, 200 traces" in capsys.readouterr().out
    assert main(["store", "prune", "--max-days", "1"]) == 0
    assert main(["store"]) == 0
    assert "0 calls, 0 spans, 0 traces" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "prices", "status", "expected"),
    [
        ([], "", 0, "Overrides   none (LLMTRACE_PRICES is not set)"),
        ([], '[[price]]\nmodel = "m"\ninput = "1"\n[[price]]\nmodel = "n"\nprovider = "openai"\nmultiplier = "0.9"\n',
         0, "Override 1  m: own prices\nOverride 2  n at openai: listed prices x 0.9\n"),
        (["m"], '[[price]]\nmodel = "m"\ninput = "1.5"\n', 0, "m  (openai)\n  from an override\n"),
        (["gpt-4.1"], '[[price]]\nmodel = "gpt-4.1"\nmultiplier = "0.5"\n', 0, ", with an override\n"),
        (["gpt-4.1", "--provider", "openai"], "", 0, "  input, per million tokens"),
        (["gemini-2.5-pro"], "", 0, "beyond 200,000 input tokens"),
        (["whisper-1"], "", 0, ", per hour"),
        (["tts-1"], "", 0, "input characters, per million "),
        (["sonar"], "", 0, "  each request "),
        (["gpt-4.1"], '[[price]]\nmodel = "m"\nmultiplier = "cheap"\n', 2, "multiplier"),
        (["no-such-model"], "", 2, "No price for 'no-such-model'. Add one to the file that LLMTRACE_PRICES"),
        (["gpt-4.1", "--provider", "nobody"], "", 2, "No price for 'gpt-4.1' at nobody."),
    ],
)  # fmt: skip
def test_prices_command_prints_prices(
    line: list[str], prices: str, status: int, expected: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The command prints prices per unit with their source, or an overview of the price table."""
    if prices:
        (tmp_path / "prices.toml").write_text(prices)
        monkeypatch.setenv("LLMTRACE_PRICES", str(tmp_path / "prices.toml"))
    assert main(["prices", *line]) == status
    captured = capsys.readouterr()
    assert expected in captured.out + captured.err


def test_missing_extra_prints_how_to_install_it() -> None:
    """Without click and rich, one line is printed and no traceback."""
    code = "import sys; sys.modules['click'] = None; from llmtrace.cli import main; sys.exit(main(['report']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": SOURCE},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == 'llmtrace: the command line needs: pip install "llmtrace-otel[cli]"\n'
