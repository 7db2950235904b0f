"""The pytest plugin: what a test's calls cost and how they behaved, and limits that make it fail.

Nothing of llmtrace is loaded before a test asks for it.
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
_MARKS = {
    "max_cost": "max_cost(usd, allow_unpriced=False): the test fails when its LLM calls cost more, or if nobody knows",
    "max_tokens": "max_tokens(total=None, input=None, output=None): the test fails when its LLM calls take more",
    "max_first_token": "max_first_token(seconds): the test fails when a stream's first token took longer",
}
_FIXTURES = frozenset({"llm_calls", "llm_spans"})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("llmtrace_all", "record the LLM calls of every test, for the summary", type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    for text in _MARKS.values():
        config.addinivalue_line("markers", text)
    config.pluginmanager.register(_Summary(), "llmtrace-summary")


def _is_recorded(item: pytest.Item) -> bool:
    return (
        bool(_FIXTURES & set(getattr(item, "fixturenames", ())))
        or any(item.get_closest_marker(name) for name in _MARKS)
        or bool(item.config.getini("llmtrace_all"))
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[Any]:
    """The whole of a test, fixtures too, is recorded when anything asks for it."""
    if not _is_recorded(item):
        return (yield)
    from ..budgets import budget
    from .recorder import recording
    from .state import reset

    registered = budget.registered()  # by the program itself, when it was imported
    with recording() as found:
        item.stash[_KEY] = found
        try:
            return (yield)
        finally:
            summary = item.config.pluginmanager.get_plugin("llmtrace-summary")
            if summary is not None:
                summary.add(item.nodeid, found.calls)
            del item.stash[_KEY]
            reset()
            budget.register(registered)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[Any]:
    """The limits are checked when the test itself has passed."""
    result = yield
    found = pyfuncitem.stash.get(_KEY, None)
    if found is not None and any(pyfuncitem.get_closest_marker(name) for name in _MARKS):
        from .. import flush

        flush(1.0)
        for complaint in _limit_failures(pyfuncitem, list(found.calls)):
            pytest.fail(complaint, pytrace=False)
    return result


def _limit_failures(item: pytest.Item, calls: Sequence[Any]) -> Iterator[str]:
    mark = item.get_closest_marker("max_cost")
    if mark is not None:
        yield from _cost(calls, **_arguments(mark, "usd"))
    mark = item.get_closest_marker("max_tokens")
    if mark is not None:
        yield from _tokens(calls, **_arguments(mark, "total"))
    mark = item.get_closest_marker("max_first_token")
    if mark is not None:
        yield from _first_token(calls, **_arguments(mark, "seconds"))


def _arguments(mark: pytest.Mark, first: str) -> dict[str, Any]:
    return {**dict(zip((first,), mark.args, strict=False)), **mark.kwargs}


def _cost(calls: Sequence[Any], usd: float | str, allow_unpriced: bool = False) -> Iterator[str]:
    unpriced = [call for call in calls if call.cost is None and call.outcome == "ok"]
    if unpriced and not allow_unpriced:
        call = unpriced[0]
        model = call.response_model or call.request_model
        yield f"max_cost: {len(unpriced)} calls have no known cost, such as {model} ({call.unpriced_reason})"
    spent = add(call.cost.total for call in calls if call.cost is not None)
    if spent > parse(str(usd)):
        yield f"max_cost: {len(calls)} calls cost ${spent:f}, over ${usd}"


def _tokens(
    calls: Sequence[Any], total: int | None = None, input: int | None = None, output: int | None = None
) -> Iterator[str]:
    given = sum(call.usage.input or 0 for call in calls)
    made = sum(call.usage.output or 0 for call in calls)
    for name, limit, count in (("total", total, given + made), ("input", input, given), ("output", output, made)):
        if limit is not None and count > limit:
            yield f"max_tokens: {len(calls)} calls took {count:,} {name} tokens, over {limit:,}"


def _first_token(calls: Sequence[Any], seconds: float) -> Iterator[str]:
    slow = [call for call in calls if call.time_to_first_token is not None and call.time_to_first_token > seconds]
    if slow:
        worst = max(call.time_to_first_token for call in slow)
        yield f"max_first_token: {len(slow)} of {len(calls)} calls waited up to {worst:.3f} s, over {seconds} s"


@pytest.fixture
def llm_calls(request: pytest.FixtureRequest) -> Any:
    """The finished LLM calls of this test, a ``Calls`` that grows while the test runs."""
    return request.node.stash[_KEY].calls


@pytest.fixture
def llm_spans(request: pytest.FixtureRequest) -> Any:
    """A function that gives the spans finished so far in this test."""
    return request.node.stash[_KEY].exporter.get_finished_spans


class _Summary:
    """What the tests' calls cost, said at the end of the run; with pytest-xdist, of all workers."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int, str, int]] = []

    def add(self, test: str, calls: Sequence[Any]) -> None:
        known = [call.cost.total for call in calls if call.cost is not None]
        tokens = sum((call.usage.input or 0) + (call.usage.output or 0) for call in calls)
        if len(calls):
            self.rows.append((test, len(calls), tokens, f"{add(known):f}", len(calls) - len(known)))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["llmtrace"] = self.rows

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self.rows += [tuple(row) for row in getattr(node, "workeroutput", {}).get("llmtrace", ())]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
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
            terminalreporter.line(_line(cost, calls, tokens, unpriced, "in all"))


def _line(cost: str, calls: int, tokens: int, unpriced: int, what: str) -> str:
    unknown = f" ({unpriced} of unknown cost)" if unpriced else ""
    return f"${float(cost):.6f}  {calls:>4} calls  {tokens:>8,} tokens  {what}{unknown}"
