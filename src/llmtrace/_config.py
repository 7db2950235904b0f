"""Settings: an argument beats ``LLMTRACE_<FIELD>`` beats the default; a wrong value is named, never guessed at."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

__all__ = ["ConfigError", "Settings", "load"]

_NATIVE_SPANS = ("replace", "keep")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class ConfigError(ValueError):
    """A setting has a value that means nothing. The message names it, and what is accepted."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What may be set, with its defaults. Every field has one ``LLMTRACE_<FIELD>`` variable."""

    enabled: bool = True
    clients: tuple[str, ...] = ()
    native_spans: str = "replace"
    error_messages: bool = False
    store: str = ""
    store_max_mb: float = 1024.0
    store_max_days: float = 90.0
    flush_timeout: float = 5.0
    strict: bool = False


def load(
    arguments: Mapping[str, object], environ: Mapping[str, str] | None = None, *, clients: Collection[str] = ()
) -> Settings:
    """The settings in force. ``None`` as an argument, and an empty variable, mean "not given".

    Args:
        arguments: Settings by field name.
        environ: Variables; those of the process by default.
        clients: The client names there are; with none given any name is accepted.
    """
    for name in arguments:
        if name not in _READERS:
            raise ConfigError(f"unknown setting {name!r}; accepted: {', '.join(_READERS)}")
    variables = os.environ if environ is None else environ
    found: dict[str, Any] = {}
    readers: dict[str, Callable[[str, object], object]] = {**_READERS, "clients": partial(_clients, known=clients)}
    for name, reader in readers.items():
        value = arguments.get(name)
        if value is not None:
            found[name] = reader(name, value)
            continue
        variable = f"LLMTRACE_{name.upper()}"
        told = variables.get(variable, "").strip()
        if told:
            found[name] = reader(variable, told)
    return Settings(**found)


def _wrong(name: str, value: object, accepted: str) -> ConfigError:
    return ConfigError(f"{name}={value!r} is not accepted; use {accepted}")


def _switch(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise _wrong(name, value, "true or false (also 1/0, yes/no, on/off)")


def _clients(name: str, value: object, known: Collection[str] = ()) -> tuple[str, ...]:
    accepted = f"a comma list of {', '.join(known) or 'client names'}; a leading '-' leaves one out"
    if isinstance(value, str):
        items: list[object] = list(value.split(","))
    elif isinstance(value, Iterable):
        items = list(value)
    else:
        raise _wrong(name, value, accepted)
    chosen: list[str] = []
    for item in items:
        if not isinstance(item, str):
            raise _wrong(name, value, accepted)
        word = item.strip().lower()
        if not word:
            continue
        if known and word.removeprefix("-") not in known:
            raise _wrong(name, value, accepted)
        chosen.append(word)
    return tuple(dict.fromkeys(chosen))


def _native_spans(name: str, value: object) -> str:
    word = value.strip().lower() if isinstance(value, str) else None
    if word not in _NATIVE_SPANS:
        raise _wrong(name, value, " or ".join(_NATIVE_SPANS))
    return word


def _store(name: str, value: object) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise _wrong(name, value, "the path of a SQLite file (or of a .jsonl file), or off")
    path = path.strip()
    return "off" if path.lower() == "off" else path


def _amount(name: str, value: object, unit: str = "seconds") -> float:
    accepted = f"a number of {unit}, 0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _wrong(name, value, accepted)
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise _wrong(name, value, accepted) from None
    if not math.isfinite(seconds) or seconds < 0:
        raise _wrong(name, value, accepted)
    return seconds


_READERS: dict[str, Callable[[str, object], object]] = {
    "enabled": _switch,
    "clients": _clients,
    "native_spans": _native_spans,
    "error_messages": _switch,
    "store": _store,
    "store_max_mb": partial(_amount, unit="megabytes"),
    "store_max_days": partial(_amount, unit="days"),
    "flush_timeout": _amount,
    "strict": _switch,
}
