"""Settings: their precedence, and the messages for invalid values."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from llmtrace import _settings
from llmtrace._settings import ConfigError, Settings, load

#: field, variable's text, what it means, an argument that says otherwise, what that means
VALUES: list[tuple[str, str, Any, Any, Any]] = [
    ("enabled", "false", False, True, True),
    ("clients", "openai, -anthropic", ("openai", "-anthropic"), ["anthropic"], ("anthropic",)),
    ("native_spans", "keep", "keep", "replace", "replace"),
    ("error_messages", "on", True, False, False),
    ("capture_content", "SPAN_AND_EVENT", "span_and_event", True, "span_only"),
    ("content_max_bytes", "4096", 4096, 1024, 1024),
    ("content_blobs", "inline", "inline", "placeholder", "placeholder"),
    ("redact", "builtin", "builtin", "none", "none"),
    ("bridges", "langfuse, logfire", ("langfuse", "logfire"), "none", ()),
    ("prices", "p.toml", "p.toml", [{"model": "m"}], ({"model": "m"},)),
    ("budgets", "b.toml", "b.toml", Path("c.toml"), "c.toml"),
    ("budget_store", "redis://h:1/0", "redis://h:1/0", "memory", "memory"),
    ("cost_attributes", "PROPOSED", "proposed", "off", "off"),
    ("metrics", "registry", "registry", "off", "off"),
    ("metric_dimensions", "tenant, prompt", ("tenant", "prompt"), ["team"], ("team",)),
    ("stream_usage", "auto", "auto", "always", "always"),
    ("stream_usage_hosts", "a.example,b.example", ("a.example", "b.example"), ["c.example"], ("c.example",)),
    ("estimate_usage", "usage", "usage", "off", "off"),
    ("store", "spans.jsonl", "spans.jsonl", Path("other.jsonl"), "other.jsonl"),
    ("store_max_mb", "64", 64.0, 8, 8.0),
    ("store_max_days", "7", 7.0, 30, 30.0),
    ("fingerprints", "OFF", "off", "auto", "auto"),
    ("spool", "OFF", "off", Path("folder"), "folder"),
    ("spool_max_mb", "64", 64, 8, 8),
    ("flush_timeout", "0.5", 0.5, 2, 2.0),
    ("handle_sigterm", "OFF", "off", "auto", "auto"),
    ("strict", "1", True, "no", False),
    ("prompts", "texts", "texts", Path("others"), "others"),
    ("baggage_keys", "feature, plan", ("feature", "plan"), ["user"], ("user",)),
    ("rollup", "1", True, "no", False),
]
#: field, wrong value, part of the message that says what is accepted
WRONG = [
    ("enabled", "maybe", "true or false"),
    ("clients", "cohere", "openai, anthropic"),
    ("native_spans", "drop", "replace or keep"),
    ("error_messages", "2", "true or false"),
    ("budget_store", "disk", "memory, or the URL"),
    ("cost_attributes", "true", "off or proposed"),
    ("metrics", "some", "both, registry, legacy or off"),
    ("stream_usage", "maybe", "never, auto or always"),
    ("estimate_usage", "true", "separate, usage or off"),
    ("capture_content", "perhaps", "no_content, span_only, event_only, span_and_event, true or false"),
    ("content_max_bytes", "12", "256 or more"),
    ("content_blobs", "whole", "placeholder or inline"),
    ("bridges", "datadog", "openinference, langfuse, logfire, or none"),
    ("store", "a\0b", "SQLite file (or of a .jsonl file), or off"),
    ("store_max_mb", "lots", "megabytes, 0 or more"),
    ("store_max_days", "-1", "days, 0 or more"),
    ("fingerprints", "always", "auto or off"),
    ("spool", "a\0b", "a folder, or off"),
    ("spool_max_mb", "0", "megabytes, 1 or more"),
    ("spool_max_mb", "1.5", "megabytes, 1 or more"),
    ("flush_timeout", "-1", "seconds, 0 or more"),
    ("handle_sigterm", "yes", "auto or off"),
    ("flush_timeout", "nan", "seconds, 0 or more"),
    ("strict", "perhaps", "true or false"),
    ("prompts", "a\0b", "path of a folder"),
    ("baggage_keys", "a b", "comma list of tag names"),
    ("rollup", "2", "true or false"),
]
#: field, an argument of a type that no variable can have, part of the message
WRONG_TYPES: list[tuple[str, Any, str]] = [
    ("enabled", 1, "true or false"),
    ("clients", 5, "a comma list of openai, anthropic"),
    ("clients", ["openai", 5], "a comma list of openai, anthropic"),
    ("native_spans", True, "replace or keep"),
    ("capture_content", 1, "span_only"),
    ("content_max_bytes", True, "256 or more"),
    ("content_max_bytes", 4096.0, "256 or more"),
    ("bridges", {"langfuse"}, "openinference, langfuse, logfire, or none"),
    ("redact", 5, "a function from text to text"),
    ("prices", 5, "a path or a list"),
    ("prices", {"model": "m"}, "a path or a list"),
    ("budget_store", 5, "memory, or the URL"),
    ("metric_dimensions", 5, "a comma list"),
    ("metric_dimensions", ["team", 5], "a comma list"),
    ("store", 5, "SQLite file"),
    ("flush_timeout", True, "seconds, 0 or more"),
    ("flush_timeout", 10**400, "seconds, 0 or more"),
    ("flush_timeout", [1], "seconds, 0 or more"),
    ("prompts", 5, "path of a folder"),
    ("baggage_keys", 5, "comma list of tag names"),
    ("baggage_keys", ["user", 5], "comma list of tag names"),
]


def test_every_field_has_a_reader_and_a_case() -> None:
    """Every field of Settings has a reader and a row in the table of this file."""
    names = [field.name for field in fields(Settings)]
    assert list(_settings._READERS) == names
    assert [case[0] for case in VALUES] == names


def test_load_without_values_returns_the_defaults() -> None:
    """Without arguments and variables the defaults apply."""
    assert load({}, {}) == Settings()


@pytest.mark.parametrize(("name", "text", "meant", "argument", "expected"), VALUES, ids=[case[0] for case in VALUES])
def test_argument_beats_variable_beats_default(name: str, text: str, meant: Any, argument: Any, expected: Any) -> None:
    """A variable beats the default and an argument beats the variable."""
    environ = {f"LLMTRACE_{name.upper()}": text}
    assert getattr(Settings(), name) != meant
    assert getattr(load({}, environ), name) == meant
    assert getattr(load({name: argument}, environ), name) == expected


@pytest.mark.parametrize("name", [field.name for field in fields(Settings)])
def test_none_and_empty_values_count_as_unset(name: str) -> None:
    """The default applies for None as an argument and for a blank variable."""
    assert load({name: None}, {f"LLMTRACE_{name.upper()}": "  "}) == Settings()


@pytest.mark.parametrize(("name", "value", "accepted"), WRONG)
def test_invalid_variable_is_named_in_the_error(name: str, value: str, accepted: str) -> None:
    """An invalid variable raises an error with its name, its value and the accepted values."""
    variable = f"LLMTRACE_{name.upper()}"
    with pytest.raises(ConfigError) as caught:
        load({}, {variable: value}, clients=("openai", "anthropic"))
    message = str(caught.value)
    assert message.startswith(f"{variable}={value!r} ")
    assert accepted in message


@pytest.mark.parametrize(("name", "value", "accepted"), [*WRONG, *WRONG_TYPES])
def test_invalid_argument_is_named_in_the_error(name: str, value: Any, accepted: str) -> None:
    """An invalid argument raises an error that names the argument, not the variable."""
    with pytest.raises(ConfigError) as caught:
        load({name: value}, {}, clients=("openai", "anthropic"))
    message = str(caught.value)
    assert message.startswith(f"{name}={value!r} ")
    assert accepted in message


def test_unknown_setting_raises_with_the_accepted_names() -> None:
    """An unknown argument raises an error that lists the settings."""
    with pytest.raises(ConfigError, match="unknown setting 'exporter'; accepted: enabled, clients"):
        load({"exporter": "otlp"}, {})


def test_blank_list_items_are_ignored() -> None:
    """A blank item between two commas is ignored."""
    environ = {"LLMTRACE_CLIENTS": "openai, ,openai", "LLMTRACE_METRIC_DIMENSIONS": "team,,team"}
    found = load({}, environ, clients=("openai",))
    assert (found.clients, found.metric_dimensions) == (("openai",), ("team",))


def test_store_off_is_read_in_any_case() -> None:
    """OFF in the store variable means off."""
    assert load({}, {"LLMTRACE_STORE": " OFF "}).store == "off"
