"""Tables in the TOML files of the package."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any


def read_tables(package: str, name: str) -> dict[str, Any]:
    """Return the tables of a file of ``package``, a name such as ``llmtrace.pricing``."""
    return tomllib.loads(files(package).joinpath(name).read_text(encoding="utf-8"))


def by_value(table: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the keys of a table by the texts below them."""
    return {text: key for key, texts in table.items() for text in texts}
