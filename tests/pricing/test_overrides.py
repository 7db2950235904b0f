"""Prices of the user's own, in front of the catalog."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llmtrace import ConfigError
from llmtrace.cli import main
from llmtrace.model import Request, Response
from llmtrace.pricing.model_names import name_variants
from llmtrace.pricing.overrides import read
from llmtrace.pricing.price import Pricer


def cost(
    entries: Any, *, model: str = "m", provider: str = "openai", answered: str | None = None, **usage: float
) -> Any:
    answer = Response(model=answered or model, usage=dict(usage))
    priced = Pricer(entries).price(provider, "gateway.example", Request("chat", model), answer)
    assert priced is not None
    return priced


def test_row_prices_every_field() -> None:
    """Every field of a row prices its own part of the usage."""
    row = {
        "model": "my-llm-*", "input": "2.50", "output": "10.00", "cache_read": "0.25", "cache_write_5m": "3",
        "cache_write_1h": "5", "reasoning": "12", "input_audio": "40", "output_audio": "80", "web_search": "0.01",
        "request": "0.002",
    }  # fmt: skip
    priced = cost(
        [row], model="my-llm-7", input=1_000, output=500, cache_read=100, cache_write=300, cache_write_1h=100,
        reasoning=50, audio_input=10, audio_output=20, web_searches=2,
    )  # fmt: skip
    expected = {
        "input": "0.001475", "output": "0.0043", "cache_read": "0.000025", "cache_write": "0.0011",
        "reasoning": "0.0006", "audio_input": "0.0004", "audio_output": "0.0016", "web_search": "0.02",
        "request": "0.002",
    }  # fmt: skip
    assert priced.cost().parts == {name: Decimal(value) for name, value in expected.items()}
    assert priced.cost().total == sum(Decimal(value) for value in expected.values())
    assert (priced.label.source, priced.label.version, priced.label.model) == ("override", None, "my-llm-7")


def test_first_matching_entry_is_used() -> None:
    """Entries are tried in order, by the model of the response and of the request, for one provider only if named."""
    entries = [
        {"provider": "groq", "model": "m", "input": "1", "output": "1"},
        {"model": "m*", "input": "2", "output": "1"},
        {"model": "m", "input": "3", "output": "1"},
    ]
    assert cost(entries, input=1_000_000, output=0).total == 2
    assert cost(entries, provider="groq", input=1_000_000, output=0).total == 1
    assert cost(entries, answered="other", input=1_000_000, output=0).total == 2


def test_multiplier_is_applied_last_and_exactly() -> None:
    """A multiplier that is not a finite decimal leaves the total exact."""
    priced = cost([{"model": "gpt-4o", "multiplier": "0.123456789012345678"}], model="gpt-4o", input=1, output=0)
    assert priced.cost().total == Decimal("0.0000025") * Decimal("0.123456789012345678")
    assert priced.exact == "0.000000308641972530864195"
    assert not priced.approximate


def test_alias_may_name_a_model_of_another_vendor() -> None:
    """An alias may name a model that the provider itself does not list."""
    priced = cost([{"model": "house", "alias": "claude-sonnet-4-6"}], model="house", input=1_000, output=100)
    assert priced.exact == "0.0045"
    unknown = cost([{"model": "house", "alias": "nobody"}], model="house", input=1_000, output=100)
    assert (unknown.reason, unknown.cost()) == ("unknown_model", None)


def test_toml_and_json_files_are_equivalent(tmp_path: Path) -> None:
    """TOML and JSON have the same meaning, and their numbers are decimals, never binary floats."""
    toml, other = tmp_path / "prices.toml", tmp_path / "prices.json"
    toml.write_text('[[price]]\nmodel = "m"\ninput = 0.1\noutput = "3"\n')
    other.write_text('{"price": [{"model": "m", "input": 0.1, "output": "3"}]}')
    assert read(str(toml)) == read(other)
    assert cost(str(toml), input=1, output=0).exact == "0.0000001"


@pytest.mark.parametrize(
    ("entries", "named"),
    [
        (3, "3 is not accepted; use a path or a list"),
        (["m"], "entry 1: 'm' is not accepted"),
        ([{"input": "1"}], "field 'model' is missing"),
        ([{"model": "", "input": "1"}], "model=''"),
        ([{"model": "m"}], "has no price"),
        ([{"model": "m", "inptu": "1"}], "unknown field 'inptu'; accepted: model"),
        ([{"model": "m", "input": 0.1}], "input=0.1"),
        ([{"model": "m", "input": "-1"}], "input='-1'"),
        ([{"model": "m", "input": "NaN"}], "input='NaN'"),
        ([{"model": "m", "input": "1e99"}], "input='1e99'"),
        ([{"model": "m", "input": "1e-99"}], "at most 18 decimals"),
        ([{"model": "m", "input": True}], "input=True"),
        ([{"model": "m", "multiplier": "half"}], "multiplier='half'"),
        ([{"model": "m", "alias": "a", "input": "1"}], "exclude each other"),
        ([{"model": "m", "input": "1", "when": {"a": 1}}], "when="),
        ("/no/such/file", "cannot be read"),
        ("~nobody-of-that-name/prices.toml", "cannot be read"),
        ({"prices": []}, "unknown \\['prices'\\]"),
    ],
)
def test_invalid_entry_names_the_field(entries: Any, named: str) -> None:
    """Each mistake is a ConfigError that names the setting, the entry, the field and the accepted values."""
    with pytest.raises(ConfigError, match=named) as raised:
        Pricer(entries)
    assert str(raised.value).startswith("LLMTRACE_PRICES")


@pytest.mark.parametrize("name", ["prices.toml", "prices.json"])
def test_deeply_nested_file_is_a_config_error(tmp_path: Path, name: str) -> None:
    """The error names the file, as for any other file that cannot be read."""
    (tmp_path / name).write_text(("price = " if name.endswith("toml") else "") + "[" * 100_000)
    with pytest.raises(ConfigError, match="is not TOML or JSON"):
        read(tmp_path / name)


def test_model_name_is_compared_literally_before_as_a_glob() -> None:
    """A model whose name contains brackets can be named."""
    assert cost([{"model": "m[1]", "input": "1"}], model="m[1]", input=1, output=0).exact == "0.000001"


@pytest.mark.parametrize(
    ("name", "spelt"),
    [
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("projects/p/locations/l/publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
        ("arn:aws:bedrock:us-east-1:1:inference-profile/us.amazon.nova-lite-v1:0", "us.amazon.nova-lite-v1:0"),
        ("us.anthropic.claude-x", "anthropic.claude-x"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("GPT-4o-2031-12-24", "gpt-4o"),
        ("gpt-5.2-20251211", "gpt-5.2-2025-12-11"),
        ("ft:gpt-4o-mini:org::id", "ft:gpt-4o-mini"),
    ],
)
def test_name_variants_are_simpler_forms_of_a_name(name: str, spelt: str) -> None:
    """A name is also looked up in its simpler forms."""
    assert spelt in name_variants(name)
    assert name_variants(name)[0] == name.lower()


def test_fine_tuned_model_never_has_the_price_of_its_base() -> None:
    """Without a price of its own a fine-tuned model has none."""
    assert "gpt-4.1" not in name_variants("ft:gpt-4.1-2025-04-14:org::id")
    assert cost([], model="ft:gpt-9:org::id", input=1, output=1).reason == "unknown_model"


def test_prices_command_shows_prices_with_overrides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """``llmtrace prices`` shows the prices of a model with overrides applied, or that they are unknown."""
    file = tmp_path / "prices.toml"
    file.write_text('[[price]]\nmodel = "claude-sonnet-4-6"\nmultiplier = "0.5"\n')
    monkeypatch.setenv("LLMTRACE_PRICES", str(file))
    assert main(["prices", "claude-sonnet-4-6", "--provider", "anthropic"]) == 0
    shown = capsys.readouterr().out
    assert "1.5 USD" in shown
    assert "with an override" in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert main(["prices"]) == 0
    assert "claude-sonnet-4-6: listed prices x 0.5" in capsys.readouterr().out
    assert main(["prices", "no-such-model"]) == 2
    assert "No price for" in capsys.readouterr().out
    file.write_text("price = 3")
    assert main(["prices"]) == 2
    assert "LLMTRACE_PRICES" in capsys.readouterr().err
