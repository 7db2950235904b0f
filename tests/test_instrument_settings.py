"""Settings as arguments of ``instrument()``, and their names in error messages."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import llmtrace

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
"""Invalid values, including some that are rejected only on use."""


@pytest.fixture(autouse=True)
def isolated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("LLMTRACE_STORE", str(tmp_path / "spans.db"))
    yield
    llmtrace.uninstrument()


def test_instrument_accepts_every_setting_as_keyword() -> None:
    """The signature has every field of ``Settings``, no positional arguments and no other names."""
    parameters = inspect.signature(llmtrace.instrument).parameters
    assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}
    others = {"endpoint", "service_name", "tracer_provider", "meter_provider", "logger_provider"}
    assert set(parameters) == {field.name for field in fields(llmtrace.Settings)} | others
    assert {parameter.default for parameter in parameters.values()} == {None}
    documented = inspect.getdoc(llmtrace.instrument) or ""
    assert [name for name in parameters if f"\n    {name}: " not in documented] == []


@pytest.mark.parametrize(("name", "value"), WRONG_LATER)
def test_invalid_setting_is_named_as_the_user_set_it(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error names the variable or the argument, whichever was set."""
    variable = f"LLMTRACE_{name.upper()}"
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(llmtrace.ConfigError) as caught:
        llmtrace.instrument(**arguments)
    assert str(caught.value).startswith(name)
    monkeypatch.setenv(variable, value)
    with pytest.raises(llmtrace.ConfigError) as caught:
        llmtrace.instrument()
    assert str(caught.value).startswith(variable)


def test_unknown_variable_is_logged_once_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt variable is logged with a suggestion."""
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
