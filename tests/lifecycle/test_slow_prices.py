"""Calls that end before the prices are loaded: a program that ends in the meantime still exports them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from export.backend import Backend, spans_of
from llmtrace.model import Request, Response
from llmtrace.pricing.price import Pricer

from .programs import CALLS, environment, run

pytestmark = pytest.mark.exhaustive

SLOW = """
from threading import Event
from llmtrace.pricing import price
price.current = Event().wait
llmtrace.instrument()
ask()
"""
"""The prices are never loaded."""

ENDS = {
    "shutdown": "begin = time.monotonic()\nassert not llmtrace.shutdown(1.5)\nassert time.monotonic() - begin < 2\n",
    "exit": "",
    "sigterm": "import signal\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(20)\n",
}


@pytest.mark.parametrize("end", [*ENDS, "dropped stream"])
def test_call_is_exported_although_prices_do_not_load(
    end: str, backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """The span arrives within the time-out, without a cost and with the reason."""
    code = CALLS + SLOW
    if end == "dropped stream":
        code = code.replace("\nask()", "\nstream = ask(stream=True)\nnext(iter(stream))\ndel stream")
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}
    if end == "sigterm":
        variables["COVERAGE_PROCESS_CONFIG"] = ""  # its handler would be the program's, and end it another way
    run(
        tmp_path / "program.py",
        code + ENDS.get(end, ""),
        environment(vendor, LLMTRACE_FLUSH_TIMEOUT="1.5", LLMTRACE_ESTIMATE_USAGE="off", **variables),
        status=-15 if end == "sigterm" else 0,
    )
    (span,) = [span for request in backend.requests for span in spans_of(request)]
    attributes = {each.key: each.value.string_value for each in span.attributes}
    assert attributes["llmtrace.cost.unpriced_reason"] == "prices_not_loaded"
    assert "llm.cost.total" not in attributes


def test_stated_cost_needs_no_prices() -> None:
    """Without the price list a call has the cost that its response states, or the reason why it has none."""
    pricer = Pricer()
    request = Request("chat", "gpt-4o")
    stated = pricer.price_without_catalog(request, Response(model="gpt-4o", stated_cost=2))
    assert stated is not None
    assert (stated.reason, stated.total) == (None, 2)
    for unknown in (None, 0):
        priced = pricer.price_without_catalog(request, Response(model="gpt-4o", stated_cost=unknown))
        assert priced is not None
        assert priced.reason == "prices_not_loaded"
    assert pricer.price_without_catalog(Request("count_tokens", "gpt-4o"), Response()) is None


def test_slow_redaction_neither_holds_the_end_nor_loses_a_span(
    backend: Backend, spool: Path, tmp_path: Path, vendor: str
) -> None:
    """Calls whose texts take 0.2 s each to redact end without texts, if shutdown() cannot wait for them."""
    code = CALLS + (
        "import logging\n"
        "logging.basicConfig(stream=sys.stdout)\n"
        "def redact(text):\n    time.sleep(0.2)\n    return text\n"
        "llmtrace.instrument(capture_content=True, redact=redact)\n"
        "streams = [ask(number, stream=True) for number in range(12)]\n"
        "for stream in streams:\n    next(stream)\n"
        "begin = time.monotonic()\nllmtrace.shutdown(2)\nassert time.monotonic() - begin < 8\n"
        "os._exit(0)\n"
    )
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": backend.url, "LLMTRACE_SPOOL": str(spool)}
    out = run(tmp_path / "program.py", code, environment(vendor, **variables))
    assert "records __REDACTED__ instead of each text" in out
    assert "lost" not in out
    run(tmp_path / "next.py", "import llmtrace\nllmtrace.instrument()\n", environment(vendor, **variables))
    assert backend.names == Counter({"chat gpt-4o-mini": 12})
