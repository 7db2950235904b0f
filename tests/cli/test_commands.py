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
from export.backend import Backend
from llmtrace.cli import main
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan
from llmtrace.store.write import Writer
from traffic import traces

SOURCE = str(Path(llmtrace.__file__).parents[1])
NAMES = (
    "llmtrace.feature", "user.id", "gen_ai.request.model", "llmtrace.stream.end", "llmtrace.cost.unpriced_reason",
    "gen_ai.prompt.name", "error.type",
)  # fmt: skip
PINNED = dict.fromkeys(("gen_ai.request.model", "gen_ai.response.model"), "gpt-4.1-mini-2025-04-14")
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
        (["report", "--store", __file__], "from --store"),
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
        (["store", "--store", "off"], "the store is off"),
        (["advise", "--where", "feature=none"], "no calls there"),
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


def test_advice_and_traces_as_json(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each finding that is printed is there in full, and a trace is its spans."""
    assert main(["advise"]) == 0
    printed = capsys.readouterr().out
    assert main(["advise", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found
    for each in found:
        assert f"{each['calls']:,} {each['title']}" in printed
        assert each.keys() >= {"saving_usd", "do", "where", "examples"}
        assert all(where.keys() == {"where", "calls", "saving_usd"} for where in each["where"])
        assert "saving" not in each
    assert main(["trace", "--json"]) == 0
    spans = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len({span["trace_id"] for span in spans}) == 1
    assert [span["parent_id"] for span in spans].count(None) == 1


def test_where_there_is_nothing_to_say(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One call alone gives no advice; an empty store no report, as table or page, and no tail."""
    assert main(["store", "prune", "--max-days", "0.001"]) == 0
    (spans,) = traces(1)
    lone = next(span for span in spans if span.attributes.get("gen_ai.operation.name") == "chat")
    with closing(connect(store, write=True)) as connection:
        Writer(connection).write([replace(lone, attributes={**lone.attributes, **PINNED})])
    capsys.readouterr()
    assert main(["advise"]) == 0
    assert "Nothing to say." in capsys.readouterr().out
    assert main(["report", "--where", "feature=none"]) == 2
    assert main(["report", "--html", str(store.with_suffix(".html")), "--where", "feature=none"]) == 2
    assert capsys.readouterr().err.count("no calls there") == 2
    assert not store.with_suffix(".html").exists()
    assert main(["report", "--html", str(store.with_suffix(".html"))]) == 0
    assert store.with_suffix(".html").as_uri() in capsys.readouterr().out
    connect(store.with_name("empty.db"), write=True).close()
    assert main(["tail", "--no-follow", "--store", str(store.with_name("empty.db"))]) == 2
    assert "the store is empty" in capsys.readouterr().err


def test_tail_follows(store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends while it runs is printed once, calls only, until Control-C."""
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


def test_a_damaged_store_is_one_line(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the damage is further in than the beginning of the file."""
    content = store.read_bytes()
    store.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    assert main(["report"]) == 2
    told = capsys.readouterr()
    assert told.err.startswith("llmtrace: cannot read the store: ")
    assert told.err.count("\n") == 1


def test_without_a_command_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    """On standard error, as nothing was done."""
    assert main([]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "Commands:" in told.err


@pytest.mark.parametrize("terminal", [False, True])
def test_the_store_is_sent_and_written(
    terminal: bool, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each span arrives once, a window of them on request; a terminal sees how far it is."""
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
    told = capsys.readouterr()
    assert main(["report"]) == 0
    assert ("Reading the store ..." in capsys.readouterr().err) is terminal
    assert told.out.startswith(f"sent 600 spans to {backend.url}\nsent 0 spans to {backend.url}\nsent ")
    assert "did not take the spans, 0 were sent; run it again for the rest" in told.err
    assert ("Sending" in told.err) is terminal
    file = store.with_suffix(".parquet")
    pytest.importorskip("pyarrow")
    assert main(["store", "export", str(file)]) == 0
    assert main(["store", "prune", "--max-mb", "0.1"]) == 0
    told = capsys.readouterr()
    assert told.out.startswith(f"wrote 600 spans to {file}\nremoved ")
    assert file.stat().st_size > 0
    assert ("Removing" in told.err) is terminal


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


def test_the_demo_needs_the_sdks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It names those that are missing, and touches nothing."""
    monkeypatch.setattr("llmtrace.cli.demo.find_spec", lambda name: None if name == "anthropic" else name)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "llmtrace demo needs the vendor SDKs: pip install anthropic\n"


@pytest.mark.parametrize(
    ("line", "prices", "status", "says"),
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
        (["no-such-model"], "", 2, "No price is known for 'no-such-model'. Give it one in the file LLMTRACE_PRICES"),
        (["gpt-4.1", "--provider", "nobody"], "", 2, "No price is known for 'gpt-4.1' at nobody."),
    ],
)  # fmt: skip
def test_prices_are_told(
    line: list[str], prices: str, status: int, says: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """What a model costs per unit and from where, and what the prices are made of."""
    if prices:
        (tmp_path / "prices.toml").write_text(prices)
        monkeypatch.setenv("LLMTRACE_PRICES", str(tmp_path / "prices.toml"))
    assert main(["prices", *line]) == status
    told = capsys.readouterr()
    assert says in told.out + told.err


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
