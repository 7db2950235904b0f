"""The option ``--exhaustive``: without it, and without a path, pytest leaves out the tests with the mark of that name.

They repeat a claim for each of many faults: in every function, in every response, at every moment of a server.
"""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--exhaustive", action="store_true", help="run all tests, those marked as exhaustive too")


def pytest_configure(config: pytest.Config) -> None:
    """Set the option if paths are given: all tests below them run."""
    config.addinivalue_line("markers", "exhaustive: repeats a claim for each of many faults; CI runs it")
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        config.option.exhaustive = True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the exhaustive tests, unless the option is set."""
    if not config.option.exhaustive:
        left_out = [item for item in items if item.get_closest_marker("exhaustive")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("exhaustive")]
