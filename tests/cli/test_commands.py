"""The command line as its users meet it: in a pipe, in a terminal, with mistakes."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from llmtrace.cli import main
from llmtrace.store.body import StoredSpan
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.write import Writer
from traffic import traces

SOURCE = str(Path(llmtrace.__file__).parents[1])
NAMES = (
    "llmtrace.feature", "user.id", "gen_ai.request.model", "llmtrace.stream.end", "llmtrace.cost.unpriced_reason",
    "gen_ai.prompt.name", "error.type",
)  # fmt: skip
PROGRAM = """
import sys, openai
with openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0, timeout=10) as client:
    ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    client.chat.completions.create(**ask)
    for _ in client.chat.completions.create(**ask, stream=True):
        pass
print(__name__, sys.argv[2:])
"""


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
        ["report", "--by", "day"], ["trace"], ["trace", "--dearest"], ["tail", "--no-follow", "-n", "5"],
        ["compare", "version=3", "version=4"], ["advise"], ["--help"], ["report", "--help"], ["compare", "--help"],
        ["run", "--help"], ["store", "--help"], ["store", "send", "--help"], ["tail", "--help"], ["demo", "--help"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_a_pipe_gets_80_columns_without_colour(
    store: Path, capsys: pytest.CaptureFixture[str], line: list[str]
) -> None:
    """No line is longer than 80 columns, none has an escape, and no figure is cut."""
    assert main(line) == 0
    told = capsys.readouterr()
    assert told.out
    assert "\x1b" not in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    assert told.err == ""
    for shown in told.out.splitlines():
        assert "$…" not in shown


def _in_a_terminal(line: list[str], **variables: str) -> str:
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "PYTHONPATH": SOURCE, **variables}
    process = subprocess.Popen(line, stdout=slave, stderr=subprocess.DEVNULL, stdin=slave, env=environment)
    os.close(slave)
    told = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        told += part
    assert process.wait(30) == 0
    os.close(master)
    return told.decode()


def test_colours_in_a_terminal_unless_refused(store: Path) -> None:
    """A terminal gets colours; with NO_COLOR it does not."""
    line = [sys.executable, "-m", "llmtrace", "trace"]
    assert "\x1b[36m" in _in_a_terminal(line)
    assert "\x1b[36m" not in _in_a_terminal(line, NO_COLOR="1")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["nonsense"], "No such command"),
        (["report", "--by", "colour"], "there is no dimension 'colour'"),
        (["report", "--since", "soon"], "is no time"),
        (["report", "--where", "x"], "name=value"),
        (["report", "--store", "/nowhere/spans.db"], "llmtrace demo"),
        (["report", "--store", __file__], "LLMTRACE_STORE"),
        (["report", "--where", "feature=none"], "no calls there"),
        (["report", "--html", "/nowhere/at/all.html"], "cannot write"),
        (["report", "--bogus"], "llmtrace report --help"),
        (["trace", "zz"], "hexadecimal"),
        (["trace", "--since", "2099-01-01"], "no trace there"),
        (["compare", "a", "b"], "no side to compare"),
        (["compare", "version=3", "version=9"], "no calls with version=9"),
        (["compare", "version=3", "version=4", "--fail-if", "x"], "--fail-if"),
        (["run"], "Missing the program"),
        (["run", "-m"], "Missing the program"),
        (["run", "--bogus"], "no command"),
        (["run", "nowhere.py"], "no file nowhere.py"),
        (["run", "no-such-command"], "no command"),
        (["store", "send"], "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (["store", "export", "x.csv"], ".parquet"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_says_what_to_do(
    store: Path, capsys: pytest.CaptureFixture[str], line: list[str], says: str
) -> None:
    """Exit status 2, nothing on standard output, one line on standard error, no traceback."""
    assert main(line) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("llmtrace: ")
    assert told.err.count("\n") == 1
    assert says in told.err


def test_json_and_csv_say_the_same(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both give every figure of every group, in full."""
    assert main(["report", "--by", "feature,model", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert main(["report", "--by", "feature,model", "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [{name: "" if value is None else str(value) for name, value in row.items()} for row in told["rows"]] == rows
    assert told["total"]["calls"] == sum(row["calls"] for row in told["rows"]) == 400


@pytest.mark.parametrize(
    "evil", ["\x1b]0;owned\x07\x1b[2J", "[red]x[/red] [/]", "m" * 10_240, "a\nb\tc\r", "\u202eabc"]
)
def test_names_cannot_steer_the_terminal(store: Path, capsys: pytest.CaptureFixture[str], evil: str) -> None:
    """Escapes, markup and any length in a name are shown, not obeyed, and break no line."""
    (spans,) = traces(1, seed=5)
    told = [replace(span, name=evil, attributes={**span.attributes, **dict.fromkeys(NAMES, evil)}) for span in spans]
    with closing(connect(store, write=True)) as connection:
        Writer(connection).write(told)
    lines = [["report"], ["trace", spans[0].trace_id], ["tail", "--no-follow"], ["advise"]]
    for line in (*lines, ["report", "--by", "user,end"], ["compare", "version=3", "version=4"]):
        assert main(line) == 0, line
    out = capsys.readouterr().out
    assert "\u202e" not in out
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out
    assert "\x07" not in out


def test_a_reader_that_stops_early_is_no_error(store: Path) -> None:
    """``llmtrace report | head -1`` prints no traceback."""
    line = f'"{sys.executable}" -m llmtrace report --by user,session --top 0 | head -1'
    done = subprocess.run(
        line, shell=True, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": SOURCE}
    )
    assert done.stderr == ""


def test_compare_fails_a_build(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A limit that is passed is exit status 1, and named."""
    dearer = ["compare", "model=gpt-4.1-mini", "model=gpt-4.1", "--where", "feature=search"]
    assert main([*dearer, "--fail-if", "cost +500 %"]) == 0
    assert main([*dearer, "--fail-if", "cost +10 %", "--json"]) == 1
    told = capsys.readouterr()
    assert "cost +10 %" in told.err
    assert main(["compare", "2026-01-01..2026-06-02", "2026-06-02..", "--fail-if", "cost +100 %"]) == 0


def test_the_store_is_described_and_pruned(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is, how much it holds, and down to what is asked."""
    assert main(["store"]) == 0
    assert "400 calls, 600 spans, 200 traces" in capsys.readouterr().out
    assert main(["store", "prune", "--max-days", "1"]) == 0
    assert main(["store"]) == 0
    assert "0 calls, 0 spans, 0 traces" in capsys.readouterr().out


def _facts(path: Path) -> Counter[Any]:
    """What does not differ between two runs of one program."""
    # A busy machine makes a stream stall.
    changing = ("time", "per_second", "stalls", "response.id", "server.port", "chunks")

    with closing(connect(path)) as store:
        return Counter(
            (
                span.name,
                span.kind,
                span.status,
                span.scope[0],
                tuple(
                    sorted((k, str(v)) for k, v in span.attributes.items() if not any(part in k for part in changing))
                ),
            )
            for _, span in spans_after(store, 0)
        )


def test_run_gives_the_spans_of_instrument(replay: Any, tmp_path: Path) -> None:
    """An unmodified program under ``llmtrace run``, as script or command, is traced as by instrument()."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    edited = tmp_path / "edited.py"
    edited.write_text("import llmtrace\nllmtrace.instrument()\n" + PROGRAM)
    run = [sys.executable, "-m", "llmtrace", "run"]
    lines = {
        "instrument": [sys.executable, str(edited)],
        "script": [*run, str(program)],
        "command": [*run, "--", sys.executable, str(program)],
    }
    running = {
        name: subprocess.Popen(
            [*line, replay.url, "--flag"],
            env={
                **os.environ,
                "PYTHONPATH": SOURCE,
                "LLMTRACE_STORE": str(tmp_path / f"{name}.db"),
                "LLMTRACE_FLUSH_TIMEOUT": "60",  # the machine that tests may be busy
            },
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name, line in lines.items()
    }  # fmt: skip
    for process in running.values():
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out == "__main__ ['--flag']\n"
        assert "writing spans to" in err
    expected = _facts(tmp_path / "instrument.db")
    assert sum(expected.values()) == 2
    for name in lines:
        assert _facts(tmp_path / f"{name}.db") == expected, name


def test_run_runs_a_module(tmp_path: Path) -> None:
    """``-m`` takes a module, and what follows it is the module's."""
    (tmp_path / "program.py").write_text("import sys\nprint(__name__, sys.argv[1:], 'llmtrace' in sys.modules)\n")
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "run", "-m", "program", "-m", "--help"],
        env={**os.environ, "PYTHONPATH": SOURCE, "LLMTRACE_STORE": "off"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("__main__ ['-m', '--help'] True\n", "")


def test_run_keeps_the_environments_own_sitecustomize(replay: Any, tmp_path: Path) -> None:
    """Another ``sitecustomize`` on the path is imported as ever."""
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.marked = True\n")
    (tmp_path / "program.py").write_text("print(marked)\n")
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "run", "program.py"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}", "LLMTRACE_STORE": "off"},
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_demo_fills_a_store_of_its_own(tmp_path: Path) -> None:
    """The demo traces through both SDKs into its own store, and says where to go on."""
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "demo", "--traces", "12"],
        env={**os.environ, "PYTHONPATH": SOURCE, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Cost by feature" in done.stdout
    assert "llmtrace report --by model,version --store demo" in done.stdout
    for step in ("embeddings text-embedding", "chat gpt-4.1", "execute_tool service_status"):
        assert step in done.stdout  # in the tree of a trace
    (path,) = tmp_path.rglob("demo.db")
    with closing(connect(path)) as store:
        spans: list[StoredSpan] = [span for _, span in spans_after(store, 0)]
    assert {span.scope[0] for span in spans} >= {"llmtrace.demo", "llmtrace.openai", "llmtrace.anthropic"}
    assert sum(span.parent_id is None for span in spans) == 12


def test_without_the_extra_it_says_how_to_get_it() -> None:
    """Without click and rich there is one line, and no traceback."""
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
