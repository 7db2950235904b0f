"""A broken sys.stderr, and logging handlers that raise, fail neither instrument() nor a call."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from llmtrace import _errors

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

BROKEN = {  # with a ``flush`` that works, or Python itself ends with status 120
    "raises": "class Broken:\n    def write(self, text): raise RuntimeError('no')\n    def flush(self): pass\n"
    "sys.stderr = Broken()\n",
    "interrupted": "class Broken:\n    def write(self, text): raise UnicodeEncodeError('ascii', 'x', 0, 1, 'no')\n"
    "    def flush(self): pass\n"
    "sys.stderr = Broken()\n",
    "no write": "class Broken:\n    def flush(self): pass\nsys.stderr = Broken()\n",
    "closed": "sys.stderr.close()\n",
    "missing": "sys.stderr = None\n",
    "handler": "import logging\nclass Broken(logging.Handler):\n    def emit(self, record): raise RuntimeError('no')\n"
    "logging.getLogger().addHandler(Broken())\n",
    "filter": "import logging\ndef broken(record): raise RuntimeError('no')\n"
    "logging.getLogger('llmtrace').addFilter(broken)\nlogging.getLogger('llmtrace').setLevel(logging.DEBUG)\n",
}


@pytest.mark.parametrize(
    ("when", "kind"), [*(("before", kind) for kind in BROKEN), ("after", "raises"), ("after", "handler")]
)
def test_broken_output_fails_no_call(kind: str, when: str, tmp_path: Path, vendor: str) -> None:
    """The line about the store, a warning about a price, an estimate and a lost span reach nobody, and calls go on."""
    store = tmp_path / "no" / "calls.db"
    store.parent.write_text("in the way of the folder")
    broken, plain = (BROKEN[kind], "") if when == "before" else ("", BROKEN[kind])
    code = CALLS + broken + "llmtrace.instrument(estimate_usage='separate')\n" + plain
    code += (
        "for _ in range(2):\n    assert ask().choices[0].message.content == 'hi'\n    list(ask(stream=True))\n"
        "assert not llmtrace.flush(0.5)\nfrom llmtrace._errors import log_internal_error\n"
        "try: 1 / 0\nexcept ZeroDivisionError: log_internal_error('test the report')\n"
    )
    variables = environment(vendor, LLMTRACE_STORE=str(store), LLMTRACE_FLUSH_TIMEOUT="0.5")
    run(tmp_path / "program.py", code, variables)


@pytest.mark.parametrize("kind", ["raises", "missing", "closed"])
def test_program_run_with_broken_output_is_not_stopped(kind: str, tmp_path: Path) -> None:
    """A setting that is wrong is announced by ``llmtrace run`` as far as that is possible."""
    site = Path(_errors.__file__).with_name("_site") / "sitecustomize.py"
    code = f"import sys, runpy\n{BROKEN[kind]}\nrunpy.run_path({str(site)!r})\n"
    run(tmp_path / "program.py", code, environment("", LLMTRACE_FLUSH_TIMEOUT="soon"))


def test_log_line_names_the_module_that_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    """The guard around handlers leaves the record as it is."""
    logging.getLogger("llmtrace").warning("a line")
    assert caplog.records[-1].filename == Path(__file__).name
