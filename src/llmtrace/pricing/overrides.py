"""Price overrides: aliases, discounts and complete price rows of the user, which win over the catalog."""

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
"""Catalog unit that each field of a row prices, and the number of these that the price is for. Cache writes without a
reported lifetime count as five-minute writes, the default of the vendors."""
_OTHER_FIELDS = ("provider", "model", "when", "alias", "multiplier")
_ACCEPTED = f"model (exact, or a glob), provider, when, alias, multiplier, {', '.join(UNITS)}"


@dataclass(frozen=True, slots=True)
class Override:
    """One entry of the setting ``prices``."""

    model: str
    """Name or glob of the models, in lower case."""
    provider: str | None = None
    """Provider that the entry is limited to."""
    when: Mapping[str, str] = field(default_factory=dict)
    """Globs that the price context must match: ``service_tier``, ``inference_geo``, ``host``..."""
    alias: str | None = None
    """Model of the catalog to price as."""
    multiplier: Fraction = Fraction(1)
    """Factor for all prices."""
    row: Mapping[str, Amount] = field(default_factory=dict)
    """Prices by catalog unit, multiplied by ``multiplier``."""

    def matches(self, provider: str, name: str | None, context: Mapping[str, str]) -> bool:
        """Return true if the entry applies to a call of this provider, model name and price context."""
        return (
            name is not None
            and self.provider in (None, provider)
            and (name.lower() == self.model or fnmatchcase(name.lower(), self.model))
            and all(fnmatchcase(context.get(key, ""), value) for key, value in self.when.items())
        )


def read(prices: object, setting: str = _SETTING) -> tuple[Override, ...]:
    """Read overrides from a TOML or JSON file or a list of mappings. The first that matches a call is used.

    Args:
        prices: Path of the file, or a list of mappings with the fields of a ``[[price]]`` table.
        setting: Name of the setting, for error messages.

    Returns:
        The overrides in their order.

    Raises:
        ConfigError: The file cannot be read, or an entry is not valid. The message names the entry, the field and the
            accepted values.
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
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: no home directory
        raise ConfigError(
            f"{setting}={str(path)!r} cannot be read: {error}; use the path of a TOML or JSON file"
        ) from None
    try:
        # Parse numbers as decimals: a binary float would not equal the price as written.
        if path.suffix.lower() == ".json":
            return json.loads(content, parse_float=parse)
        return tomllib.loads(content, parse_float=parse)
    except (ValueError, RecursionError, ArithmeticError) as error:
        raise ConfigError(f"{setting}={str(path)!r} is not TOML or JSON: {error}") from None


def _as_entries(document: Mapping[Any, Any], setting: str) -> object:
    unknown = [key for key in document if key != "price"]
    if unknown or not isinstance(document.get("price"), list):
        raise ConfigError(
            f"{setting}: unknown {unknown or sorted(document)}; use [[price]] tables (in JSON a list 'price')"
        )
    return document["price"]


def _parse_override(entry: object, location: str) -> Override:
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{location}: {entry!r} is not accepted; use a mapping with {_ACCEPTED}")
    for key in entry:
        if key not in _OTHER_FIELDS and key not in UNITS:
            raise ConfigError(f"{location}: unknown field {key!r}; accepted: {_ACCEPTED}")
    row = {key: entry[key] for key in UNITS if key in entry}
    alias = _read_text(entry, "alias", location)
    model = _read_text(entry, "model", location)
    if model is None:
        raise ConfigError(f"{location}: field 'model' is missing; use the model's name, or a glob such as my-llm-*")
    if alias is not None and row:
        raise ConfigError(f"{location}: 'alias' and prices exclude each other; use the one or the other")
    if alias is None and not row and "multiplier" not in entry:
        raise ConfigError(f"{location}: has no price; add one of alias, multiplier, {', '.join(UNITS)}")
    factor = _decimal(entry.get("multiplier", 1), "multiplier", location)
    return Override(
        model=model.lower(),
        provider=_read_text(entry, "provider", location),
        when=_context(entry.get("when", {}), location),
        alias=alias,
        multiplier=factor,
        row={UNITS[key][0]: amount(_decimal(row[key], key, location) * factor, UNITS[key][1]) for key in row},
    )


def _read_text(entry: Mapping[Any, Any], name: str, location: str) -> str | None:
    value = entry.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{location}: {name}={value!r} is not accepted; use text")
    return value.strip()


def _context(value: object, location: str) -> dict[str, str]:
    if isinstance(value, Mapping) and all(isinstance(key, str) and isinstance(value[key], str) for key in value):
        return {key: value[key].lower() for key in value}
    raise ConfigError(
        f'{location}: when={value!r} is not accepted; use a table of texts, such as {{ service_tier = "flex" }}'
    )


def _decimal(value: object, name: str, location: str) -> Fraction:
    accepted = (
        f'{location}: {name}={value!r} is not accepted; use a decimal number of 0 or more as text, such as "2.50"'
    )
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
