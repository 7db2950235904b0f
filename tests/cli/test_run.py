"""``llmtrace run`` and ``llmtrace demo``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from llmtrace.cli import main
from llmtrace.store.read import spans_after
from llmtrace.store.schema import connect
from llmtrace.store.span_codec import StoredSpan

SOURCE = str(Path(llmtrace.__file__).parents[1])
PROGRAM = """
import sys, openai
with openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="x", max_retries=0, timeout=10) as client:
    ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
    client.chat.completions.create(**ask)
    for _ in client.chat.completions.create(**ask, stream=True):
        pass
print(__name__, sys.argv[2:])
"""


def _comparable_spans(path: Path) -> Counter[Any]:
    """Return the attributes that do not differ between two runs of one program."""
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


def test_run_records_the_same_spans_as_instrument(replay: Any, tmp_path: Path) -> None:
    """An unmodified script or command under ``llmtrace run`` is traced as with instrument()."""
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
        out, err = process.communicate(timeout=180)
        assert process.returncode == 0, err
        assert out == "__main__ ['--flag']\n"
        assert "writing spans to" in err
    expected = _comparable_spans(tmp_path / "instrument.db")
    assert sum(expected.values()) == 2
    for name in lines:
        assert _comparable_spans(tmp_path / f"{name}.db") == expected, name


def test_run_runs_a_module(tmp_path: Path) -> None:
    """``-m`` takes a module, and further arguments belong to the module."""
    (tmp_path / "program.py").write_text("import sys\nprint(__name__, sys.argv[1:], 'llmtrace' in sys.modules)\n")
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "run", "-m", "program", "-m", "--help"],
        env={**os.environ, "PYTHONPATH": SOURCE, "LLMTRACE_STORE": "off"},
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("__main__ ['-m', '--help'] True\n", "")


def test_run_loads_the_existing_sitecustomize(replay: Any, tmp_path: Path) -> None:
    """Another ``sitecustomize`` on the path is still imported."""
    (tmp_path / "sitecustomize.py").write_text("import builtins\nbuiltins.marked = True\n")
    (tmp_path / "program.py").write_text("print(marked)\n")
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "run", "program.py"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{SOURCE}", "LLMTRACE_STORE": "off"},
        cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("True\n", "")


def test_demo_fills_its_own_store(tmp_path: Path) -> None:
    """The demo traces both SDKs into its own store and prints next steps."""
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "demo", "--traces", "12"],
        env={**os.environ, "PYTHONPATH": SOURCE, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=180, check=False,
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
    assert {span.scope[0] for span in spans} >= {"llmtrace.scope", "llmtrace.openai", "llmtrace.anthropic"}
    assert sum(span.parent_id is None for span in spans) == 12


def test_demo_without_sdks_names_the_packages(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the missing packages, and no file is changed."""
    monkeypatch.setattr("llmtrace.cli.demo.find_spec", lambda name: None if name == "anthropic" else name)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "llmtrace demo needs the vendor SDKs: pip install anthropic\n"
