"""Prices of the user's own: aliases, discounts and whole rows, in front of the catalogue."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fnmatch import fnmatchcase
from fractions import Fraction
from pathlib import Path
from typing import Any

from .._decimal import parse
from .._settings import ConfigError
from .money import Amount, amount

__all__ = ["Override", "read"]

_SETTING = "LLMTRACE_PRICES"
_MILLION = 1_000_000
UNITS = {
    "input": ("input_tokens", _MILLION),
    "output": ("output_tokens", _MILLION),
    "cache_read": ("cache_read_tokens", _MILLION),
    "cache_write_5m": ("cache_write_tokens", _MILLION),
    "cache_write_1h": ("cache_write_1h_tokens", _MILLION),
    "reasoning": ("output_reasoning_tokens", _MILLION),
    "input_audio": ("input_audio_tokens", _MILLION),
    "output_audio": ("output_audio_tokens", _MILLION),
    "web_search": ("web_searches", 1),
    "request": ("requests", 1),
}
"""A field of a row: the catalogue's unit that it prices, and how many of them. Writes for which no lifetime is told are
of five minutes, as the vendors' default is."""
_WORDS = ("provider", "model", "when", "alias", "multiplier")
_ACCEPTED = f"model (exact, or a glob), provider, when, alias, multiplier, {', '.join(UNITS)}"


@dataclass(frozen=True, slots=True)
class Override:
    """One entry."""

    model: str
    provider: str | None = None
    when: Mapping[str, str] = field(default_factory=dict)
    """Parts of the price context that must be so: ``service_tier``, ``inference_geo``, ``host``... Values are globs."""
    alias: str | None = None
    multiplier: Fraction = Fraction(1)
    row: Mapping[str, Amount] = field(default_factory=dict)
    """The catalogue's unit, and its price, multiplier included."""

    def fits(self, provider: str, name: str | None, context: Mapping[str, str]) -> bool:
        return (
            name is not None
            and self.provider in (None, provider)
            and (name.lower() == self.model or fnmatchcase(name.lower(), self.model))
            and all(fnmatchcase(context.get(key, ""), value) for key, value in self.when.items())
        )


def read(prices: object, setting: str = _SETTING) -> tuple[Override, ...]:
    """The overrides in a TOML or JSON file, or in a list of mappings; the first that fits a call is used.

    Raises:
        ConfigError: Something in it means nothing. The message names the entry, the field and what is accepted.
    """
    if prices is None or prices == "":
        return ()
    if isinstance(prices, (str, os.PathLike)):
        entries: object = _load(Path(prices), setting)
    else:
        entries = prices
    if isinstance(entries, Mapping):
        entries = _as_entries(entries, setting)
    if not isinstance(entries, Iterable) or isinstance(entries, (str, bytes)):
        raise ConfigError(f"{setting}: {entries!r} is not accepted; use a path or a list of mappings")
    return tuple(_parse_override(entry, f"{setting}, entry {number}") for number, entry in enumerate(entries, 1))


def _load(path: Path, setting: str) -> object:
    try:
        content = path.expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:  # of the last kind is a home that is not known
        raise ConfigError(
            f"{setting}={str(path)!r} cannot be read: {error}; use the path of a TOML or JSON file"
        ) from None
    try:
        # Numbers stay as they are written: a binary float is not the price on the contract.
        if path.suffix.lower() == ".json":
            return json.loads(content, parse_float=parse)
        return tomllib.loads(content, parse_float=parse)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise ConfigError(f"{setting}={str(path)!r} is not TOML or JSON: {error}") from None


def _as_entries(found: Mapping[Any, Any], setting: str) -> object:
    unknown = [key for key in found if key != "price"]
    if unknown or not isinstance(found.get("price"), list):
        raise ConfigError(
            f"{setting}: unknown {unknown or sorted(found)}; use [[price]] tables (in JSON a list 'price')"
        )
    return found["price"]


def _parse_override(entry: object, place: str) -> Override:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{place}: {entry!r} is not accepted; use a mapping with {_ACCEPTED}")
    for key in entry:
        if key not in _WORDS and key not in UNITS:
            raise ConfigError(f"{place}: unknown field {key!r}; accepted: {_ACCEPTED}")
    row = {key: entry[key] for key in UNITS if key in entry}
    alias = _read_text(entry, "alias", place)
    model = _read_text(entry, "model", place)
    if model is None:
        raise ConfigError(f"{place}: field 'model' is missing; use the model's name, or a glob such as my-llm-*")
    if alias is not None and row:
        raise ConfigError(f"{place}: 'alias' and prices exclude each other; use the one or the other")
    if alias is None and not row and "multiplier" not in entry:
        raise ConfigError(f"{place}: says no price; add one of alias, multiplier, {', '.join(UNITS)}")
    factor = _decimal(entry.get("multiplier", 1), "multiplier", place)
    return Override(
        model=model.lower(),
        provider=_read_text(entry, "provider", place),
        when=_context(entry.get("when", {}), place),
        alias=alias,
        multiplier=factor,
        row={UNITS[key][0]: amount(_decimal(row[key], key, place) * factor, UNITS[key][1]) for key in row},
    )


def _read_text(entry: Mapping[Any, Any], name: str, place: str) -> str | None:
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{place}: {name}={value!r} is not accepted; use text")
    return value.strip()


def _context(value: object, place: str) -> dict[str, str]:
    if isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(value[key], str) for key in value):
        return {key: value[key].lower() for key in value}
    raise ConfigError(
        f'{place}: when={value!r} is not accepted; use a table of texts, such as {{ service_tier = "flex" }}'
    )


def _decimal(value: object, name: str, place: str) -> Fraction:
    accepted = f'{place}: {name}={value!r} is not accepted; use a decimal number of 0 or more as text, such as "2.50"'
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        raise ConfigError(accepted)
    try:
        number = parse(value.strip()) if isinstance(value, str) else Decimal(value)
    except ArithmeticError:
        raise ConfigError(accepted) from None
    if not number.is_finite() or number < 0 or number.adjusted() > 12:
        raise ConfigError(accepted)
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -18:
        raise ConfigError(accepted + ", with at most 18 decimals")
    return Fraction(number)
