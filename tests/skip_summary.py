"""The line at the end of a test run that says how many tests were skipped, and why."""

from __future__ import annotations

from collections import Counter

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many tests were skipped, and why, in one line."""
    reports = terminalreporter.stats.get("skipped", [])
    if line := describe_skips([report.longrepr[2] for report in reports if isinstance(report.longrepr, tuple)]):
        terminalreporter.write_line(line)


def describe_skips(reasons: list[str]) -> str:
    """Return one line with the number of skipped tests for each reason, the most frequent first."""
    counts = Counter(reason.removeprefix("Skipped: ") for reason in reasons)
    described = "; ".join(f"{count} x {reason}" for reason, count in counts.most_common())
    return f"{len(reasons)} skipped: {described}" if reasons else ""
