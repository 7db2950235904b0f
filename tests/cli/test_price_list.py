"""Prices of alternative models come from the same table as those of calls."""

from __future__ import annotations

import pytest

from llmtrace._settings import ConfigError
from llmtrace.cli.price_list import CatalogPrices

AT = 1_780_000_000.0


def test_price_list_returns_prices_and_windows_of_the_catalog() -> None:
    """A listed model has its listed price; an unknown one has none."""
    quotes = CatalogPrices()
    assert quotes.price("openai", "gpt-4.1-mini", {"input": 1_000_000, "output": 1_000_000}, AT) == 2_000_000_000_000
    assert quotes.price("openai", "gpt-4.1-mini", {"input": 1_000_000}, AT) == 400_000_000_000
    assert quotes.price("openai", "house-llm", {"input": 1000}, AT) is None
    assert (quotes.window("openai", "gpt-4.1-mini") or 0) > 100_000
    assert quotes.window(None, "house-llm") is None


def test_price_list_applies_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """Overrides have precedence, and an invalid file is reported."""
    path = f"{tmp_path}/prices.toml"
    with open(path, "w") as file:
        file.write('[[price]]\nmodel = "house-llm"\ninput = "1.00"\noutput = "2.00"\n')
    monkeypatch.setenv("LLMTRACE_PRICES", path)
    assert CatalogPrices().price("openai", "house-llm", {"input": 1_000_000}, AT) == 10**12
    monkeypatch.setenv("LLMTRACE_PRICES", f"{tmp_path}/none.toml")
    with pytest.raises(ConfigError, match="LLMTRACE_PRICES"):
        CatalogPrices()
