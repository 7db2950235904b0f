"""The pytest plugin: fixtures with the calls of a test, markers that limit their cost, and a summary.

The rest of llmtrace is imported when the first test uses a fixture or marker.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from .._decimal import add, parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .recorder import Recording

_KEY: pytest.StashKey[Recording] = pytest.StashKey()
_MARKERS = {
    "max_cost": "max_cost(usd, allow_unpriced=False): fail the test if its LLM calls cost more or are unpriced",
    "max_tokens": "max_tokens(total=None, input=None, output=None): fail the test if its LLM calls use more tokens",
    "max_first_token": "max_first_token(seconds): fail the test if the first token of a stream takes longer",
}
_FIXTURES = frozenset({"llm_calls", "llm_spans"})


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the ini option ``llmtrace_all``."""
    parser.addini("llmtrace_all", "record the LLM calls of every test, for the summary", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers and the summary."""
    for text in _MARKERS.values():
        config.addinivalue_line("markers", text)
    config.pluginmanager.register(_Summary(), "llmtrace-summary")


def _is_recorded(item: pytest.Item) -> bool:
    return (
        bool(_FIXTURES & set(getattr(item, "fixturenames", ())))
        or any(item.get_closest_marker(name) for name in _MARKERS)
        or bool(item.config.getini("llmtrace_all"))
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """Record a test, its fixtures included, if it uses a fixture or marker of llmtrace."""
    if not _is_recorded(item):
        return (yield)
    from ..budgets import budget
    from .recorder import recording
    from .state import reset

    registered = budget.registered()  # keep the budgets that the program registered when it was imported
    with recording() as record:
        item.stash[_KEY] = record
        try:
            return (yield)
        finally:
            summary = item.config.pluginmanager.get_plugin("llmtrace-summary")
            if summary is not None:
                summary.add(item.nodeid, record.calls)
            del item.stash[_KEY]
            reset()
            budget.register(registered)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[Any]:
    """Check the limits of a test that has passed."""
    result = yield
    record = pyfuncitem.stash.get(_KEY, None)
    if record is not None and any(pyfuncitem.get_closest_marker(name) for name in _MARKERS):
        from .. import flush

        flush(1.0)
        for failure in _limit_failures(pyfuncitem, list(record.calls)):
            pytest.fail(failure, pytrace=False)
    return result


def _limit_failures(item: pytest.Item, calls: Sequence[Any]) -> Iterator[str]:
    for name, first, check in (
        ("max_cost", "usd", _check_cost),
        ("max_tokens", "total", _check_tokens),
        ("max_first_token", "seconds", _check_first_token),
    ):
        marker = item.get_closest_marker(name)
        if marker is not None:
            # The one positional argument has the name ``first``.
            yield from check(calls, **{**dict(zip((first,), marker.args, strict=False)), **marker.kwargs})


def _check_cost(calls: Sequence[Any], usd: float | str, allow_unpriced: bool = False) -> Iterator[str]:
    unpriced = [call for call in calls if call.cost is None and call.outcome == "ok"]
    if unpriced and not allow_unpriced:
        call = unpriced[0]
        model = call.response_model or call.request_model
        yield (
            f"max_cost: {len(unpriced)} calls could not be priced, such as {model} ({call.unpriced_reason}); "
            "allow_unpriced=True ignores them"
        )
    spent = add(call.cost.total for call in calls if call.cost is not None)
    if spent > parse(str(usd)):
        yield f"max_cost: {len(calls)} calls cost ${spent:f}, over ${usd}"


def _check_tokens(
    calls: Sequence[Any], total: int | None = None, input: int | None = None, output: int | None = None
) -> Iterator[str]:
    inputs = sum(call.usage.input or 0 for call in calls)
    outputs = sum(call.usage.output or 0 for call in calls)
    for name, limit, count in (
        ("total", total, inputs + outputs),
        ("input", input, inputs),
        ("output", output, outputs),
    ):
        if limit is not None and count > limit:
            yield f"max_tokens: {len(calls)} calls used {count:,} {name} tokens, over {limit:,}"


def _check_first_token(calls: Sequence[Any], seconds: float) -> Iterator[str]:
    slow = [call for call in calls if call.time_to_first_token is not None and call.time_to_first_token > seconds]
    if slow:
        worst = max(call.time_to_first_token for call in slow)
        yield f"max_first_token: {len(slow)} of {len(calls)} calls waited up to {worst:.3f} s, over {seconds} s"


@pytest.fixture
def llm_calls(request: pytest.FixtureRequest) -> Any:
    """Return the finished LLM calls of this test, a ``Calls`` that grows while the test runs."""
    return request.node.stash[_KEY].calls


@pytest.fixture
def llm_spans(request: pytest.FixtureRequest) -> Any:
    """Return a function that returns the spans finished so far in this test."""
    return request.node.stash[_KEY].exporter.get_finished_spans


class _Summary:
    """Summary of the cost of the tests' calls at the end of the run, from all workers with pytest-xdist."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int, str, int]] = []

    def add(self, test: str, calls: Sequence[Any]) -> None:
        """Add a row for a test that has made calls."""
        costs = [call.cost.total for call in calls if call.cost is not None]
        tokens = sum((call.usage.input or 0) + (call.usage.output or 0) for call in calls)
        if len(calls):
            self.rows.append((test, len(calls), tokens, f"{add(costs):f}", len(calls) - len(costs)))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Send the rows of a worker to the controller of pytest-xdist."""
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["llmtrace"] = self.rows

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Add the rows of a worker."""
        self.rows += [tuple(row) for row in getattr(node, "workeroutput", {}).get("llmtrace", ())]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the ten most expensive tests and the total."""
        if not self.rows:
            return
        terminalreporter.section("LLM calls")
        rows = sorted(self.rows, key=lambda row: (-float(row[3]), -row[2]))
        for test, calls, tokens, cost, unpriced in rows[:10]:
            terminalreporter.line(_line(cost, calls, tokens, unpriced, test))
        if len(rows) > 1:
            cost = f"{add(parse(row[3]) for row in rows):f}"
            calls, tokens, unpriced = (
                sum(numbers) for numbers in zip(*((row[1], row[2], row[4]) for row in rows), strict=True)
            )
            terminalreporter.line(_line(cost, calls, tokens, unpriced, "total"))


def _line(cost: str, calls: int, tokens: int, unpriced: int, name: str) -> str:
    unpriced_note = f" ({unpriced} unpriced)" if unpriced else ""
    return f"${float(cost):.6f}  {calls:>4} calls  {tokens:>8,} tokens  {name}{unpriced_note}"
