"""The settings of ``instrument()``: all in its signature, and named in errors as the user set them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import llmtrace
from llmtrace import _settings

WRONG_LATER: list[tuple[str, Any]] = [
    ("redact", "nowhere_at_all:f"),
    ("redact", "strict"),
    ("prices", "/nowhere/prices.toml"),
    ("budgets", "/nowhere/budgets.toml"),
    ("budget_store", "redis://[broken"),
    ("metrics", "some"),
    ("content_max_bytes", "many"),
    ("clients", "opnai"),
]
"""Some are found to be wrong only where they are used."""


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.db"))
    monkeypatch.setattr(_settings, "_unknown_reported", set())
    yield
    llmtrace.uninstrument()


def test_every_setting_is_an_argument_by_name() -> None:
    """The signature names every field of ``Settings``, takes nothing by position, and no other name."""
    parameters = inspect.signature(llmtrace.instrument).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    others = {"endpoint", "service_name", "tracer_provider", "meter_provider", "logger_provider"}
    assert set(parameters) == {field.name for field in fields(llmtrace.Settings)} | others
    assert {parameter.default for parameter in parameters.values()} == {None}
    documented = inspect.getdoc(llmtrace.instrument) or ""
    assert [name for name in parameters if f"\n    {name}: " not in documented] == []


@pytest.mark.parametrize(("name", "value"), WRONG_LATER)
def test_wrong_setting_is_named_as_it_was_set(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable where it came from the environment, the argument where it was an argument."""
    variable = f"LLMTRACE_{name.upper()}"
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(llmtrace.ConfigError) as caught:
        llmtrace.instrument(**arguments)
    assert str(caught.value).startswith(name)
    monkeypatch.setenv(variable, value)
    with pytest.raises(llmtrace.ConfigError) as caught:
        llmtrace.instrument()
    assert str(caught.value).startswith(variable)


def test_unknown_variable_is_reported_once_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A slip in the name of a variable does not pass unnoticed."""
    monkeypatch.setenv("LLMTRACE_STOER", "off")
    monkeypatch.setenv("LLMTRACE_REDACTION", "builtin")
    for _ in range(2):
        llmtrace.instrument()
        llmtrace.uninstrument()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [
        "llmtrace ignores LLMTRACE_REDACTION: there is no such setting; did you mean LLMTRACE_REDACT?",
        "llmtrace ignores LLMTRACE_STOER: there is no such setting; did you mean LLMTRACE_STORE?",
    ]
