"""Tables in the TOML files of this package."""

from __future__ import annotations

import tomllib
from importlib.resources import files


def read_tables(name: str) -> dict[str, dict[str, list[str]]]:
    """Return the tables of a file. Each has keys, and under each the texts that mean it."""
    return tomllib.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))


def by_value(table: dict[str, list[str]]) -> dict[str, str]:
    """Return the keys of a table by the texts that mean them."""
    return {text: key for key, texts in table.items() for text in texts}
