"""Settings. Arguments take precedence over ``LLMTRACE_<FIELD>`` variables, and variables over defaults."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from .._process import warn_once

__all__ = [
    "BRIDGES",
    "CONTENT_MODES",
    "ConfigError",
    "Settings",
    "check_endpoint",
    "check_service_name",
    "content_mode",
    "display_name",
    "load",
]


CONTENT_MODES = ("no_content", "span_only", "event_only", "span_and_event")
BRIDGES = ("openinference", "langfuse", "logfire")
_BLOBS = ("placeholder", "inline")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class ConfigError(ValueError):
    """Invalid value of a setting. The message names the setting and the accepted values."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings with their defaults. Every field has one ``LLMTRACE_<FIELD>`` variable."""

    enabled: bool = True
    clients: tuple[str, ...] = ()
    native_spans: str = "replace"
    error_messages: bool = False
    capture_content: str | None = None
    """Destination of recorded content: ``no_content``, ``span_only``, ``event_only`` or ``span_and_event``."""
    content_max_bytes: int = 65536
    content_blobs: str = "placeholder"
    redact: object = None
    """Redaction of recorded text: ``builtin``, ``module:callable``, or a function from text to text."""
    bridges: tuple[str, ...] = ("openinference",)
    prices: object = None
    """Overrides of the price catalog: a path, or a list of mappings."""
    budgets: object = None
    """Budgets: a path, or a list of ``Budget``."""
    budget_store: str = "memory"
    cost_attributes: str = "off"
    """``proposed`` writes the cost under the names of the open proposal for the GenAI conventions too."""
    metrics: str = "both"
    """``registry`` records the metric names of GenAI v0.1.0, ``legacy`` those before, ``both`` all, ``off`` none."""
    metric_dimensions: tuple[str, ...] = ("feature",)
    stream_usage: str = "never"
    stream_usage_hosts: tuple[str, ...] = ()
    estimate_usage: str = "separate"
    store: str = ""
    store_max_mb: float = 1024.0
    store_max_days: float = 90.0
    fingerprints: str = "auto"
    """``auto`` keeps keyed hashes of requests in the local store for ``llmtrace advise``; ``off`` does not."""
    spool: str = ""
    spool_max_mb: int = 256
    flush_timeout: float = 5.0
    handle_sigterm: str = "auto"
    """``auto`` flushes on SIGTERM before the previous handler runs; ``off`` does not handle the signal."""
    strict: bool = False
    prompts: str = "prompts"
    baggage_keys: tuple[str, ...] = ()
    rollup: bool = False


def load(
    arguments: Mapping[str, object], environ: Mapping[str, str] | None = None, *, clients: Collection[str] = ()
) -> Settings:
    """Return the effective settings. ``None`` as an argument and an empty variable count as unset.

    Args:
        arguments: Settings by field name.
        environ: Environment variables; those of the process by default.
        clients: Valid client names. Any name is accepted if there are none.

    Raises:
        ConfigError: A setting does not exist or has an invalid value.
    """
    for name in arguments:
        if name not in _READERS:
            raise ConfigError(f"unknown setting {name!r}; accepted: {', '.join(_READERS)}")
    variables = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    readers: dict[str, Callable[[str, object], object]] = {
        **_READERS,
        "clients": partial(_read_clients, accepted=clients),
    }
    for name, reader in readers.items():
        value = arguments.get(name)
        if value is not None:
            values[name] = reader(name, value)
            continue
        variable = f"LLMTRACE_{name.upper()}"
        text = variables.get(variable, "").strip()
        if text:
            values[name] = reader(variable, text)
    return Settings(**values)


def display_name(name: str, arguments: Mapping[str, object]) -> str:
    """Return the name of a setting for messages: the argument if it was passed, else the variable."""
    return name if arguments.get(name) is not None else f"LLMTRACE_{name.upper()}"


def check_endpoint(value: object) -> str | None:
    """Return the argument ``endpoint`` of ``instrument()``, stripped.

    Raises:
        ConfigError: The value is not a URL with a scheme and a host.
    """
    if value is None:
        return None
    try:
        url = urlsplit(value if isinstance(value, str) else "")
        usable = url.scheme.lower() in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not isinstance(value, str):
        raise _invalid("endpoint", value, "a URL with its scheme, such as http://localhost:4318")
    return value.strip()


def check_service_name(value: object) -> str | None:
    """Return the argument ``service_name`` of ``instrument()``, stripped.

    Raises:
        ConfigError: The value is not a string, or it is empty.
    """
    if value is not None and not (isinstance(value, str) and value.strip()):
        raise _invalid("service_name", value, "a name, such as checkout")
    return None if value is None else str(value).strip()


def report_unknown(variables: Mapping[str, str]) -> None:
    """Log each unknown ``LLMTRACE_`` variable once, with the most similar valid name."""
    accepted = [f"LLMTRACE_{name.upper()}" for name in _READERS]
    for name in sorted(variables):
        if not name.startswith("LLMTRACE_") or name in accepted:
            continue
        from difflib import get_close_matches

        nearest = next(iter(get_close_matches(name, accepted, 1, 0.0)))
        warn_once(f"llmtrace ignores {name}: there is no such setting; did you mean {nearest}?")


def _invalid(name: str, value: object, accepted: str) -> ConfigError:
    return ConfigError(f"{name}={value!r} is not accepted; use {accepted}")


def _read_boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _TRUE:
            return True
        if word in _FALSE:
            return False
    raise _invalid(name, value, "true or false (also 1/0, yes/no, on/off)")


def _read_clients(name: str, value: object, accepted: Collection[str] = ()) -> tuple[str, ...]:
    expected = f"a comma list of {', '.join(accepted) or 'client names'}; a leading '-' leaves one out"
    if isinstance(value, str):
        items: list[object] = list(value.split(","))
    elif isinstance(value, Iterable):
        items = list(value)
    else:
        raise _invalid(name, value, expected)
    chosen: list[str] = []
    for item in items:
        if not isinstance(item, str):
            raise _invalid(name, value, expected)
        word = item.strip().lower()
        if not word:
            continue
        if accepted and word.removeprefix("-") not in accepted:
            raise _invalid(name, value, expected)
        chosen.append(word)
    return tuple(dict.fromkeys(chosen))


def _read_choice(name: str, value: object, *, words: tuple[str, ...]) -> str:
    word = value.strip().lower() if isinstance(value, str) else None
    if word not in words:
        raise _invalid(name, value, f"{', '.join(words[:-1])} or {words[-1]}")
    return word


def content_mode(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "span_only" if value else "no_content"
    word = value.strip().lower() if isinstance(value, str) else ""
    if word in _TRUE:
        return "span_only"
    if word in _FALSE:
        return "no_content"
    if word not in CONTENT_MODES:
        raise _invalid(name, value, f"{', '.join(CONTENT_MODES)}, true or false")
    return word


def _read_redact(name: str, value: object) -> object:
    if callable(value) or isinstance(value, str):
        return value
    raise _invalid(name, value, "none, builtin, or module:callable (a function from text to text)")


def _read_bridges(name: str, value: object) -> tuple[str, ...]:
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [None]
    words = [item.strip().lower() if isinstance(item, str) else None for item in items]
    for word in words:
        if word not in (*BRIDGES, "none", ""):
            raise _invalid(name, value, f"a comma list of {', '.join(BRIDGES)}, or none")
    return tuple(word for word in dict.fromkeys(words) if word and word != "none")


def _read_names(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, Iterable):
        raise _invalid(name, value, "a comma list")
    items = value.split(",") if isinstance(value, str) else list(value)
    if not all(isinstance(item, str) for item in items):
        raise _invalid(name, value, "a comma list")
    return tuple(dict.fromkeys(item.strip() for item in items if item.strip()))


def _read_source(name: str, value: object) -> object:
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        return tuple(value)
    raise _invalid(name, value, "a path or a list")


def _read_budget_store(name: str, value: object) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if text.lower() == "memory":
        return "memory"
    if text.startswith(("redis://", "rediss://", "unix://")):
        return text
    raise _invalid(name, value, "memory, or the URL of a Redis server such as redis://localhost:6379/0")


def _read_path_or_off(name: str, value: object, *, kind: str) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path:
        raise _invalid(name, value, f"the path of a {kind}, or off")
    path = path.strip()
    return "off" if path.lower() == "off" else path


def _read_folder(name: str, value: object) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise _invalid(name, value, "the path of a folder")
    return path.strip()


def _read_words(name: str, value: object) -> tuple[str, ...]:
    accepted = "a comma list of tag names: feature, user, session, tenant, or a free key"
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, Iterable):
        raise _invalid(name, value, accepted)
    names: list[str] = []
    for item in items:
        if not isinstance(item, str) or not all(c.isascii() and (c.isalnum() or c in "_.-") for c in item.strip()):
            raise _invalid(name, value, accepted)
        names.append(item.strip())
    return tuple(dict.fromkeys(name for name in names if name))


def _read_count(name: str, value: object, *, unit: str, minimum: int = 1) -> int:
    accepted = f"a whole number of {unit}, {minimum} or more"
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _invalid(name, value, accepted)
    try:
        count = int(value)
    except ValueError:
        raise _invalid(name, value, accepted) from None
    if count < minimum:
        raise _invalid(name, value, accepted)
    return count


def _read_amount(name: str, value: object, unit: str = "seconds") -> float:
    accepted = f"a number of {unit}, 0 or more"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise _invalid(name, value, accepted)
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        raise _invalid(name, value, accepted) from None
    if not math.isfinite(seconds) or seconds < 0:
        raise _invalid(name, value, accepted)
    return seconds


_READERS: dict[str, Callable[[str, object], object]] = {
    "enabled": _read_boolean,
    "clients": _read_clients,
    "native_spans": partial(_read_choice, words=("replace", "keep")),
    "error_messages": _read_boolean,
    "capture_content": content_mode,
    "content_max_bytes": partial(_read_count, unit="bytes", minimum=256),
    "content_blobs": partial(_read_choice, words=_BLOBS),
    "redact": _read_redact,
    "bridges": _read_bridges,
    "prices": _read_source,
    "budgets": _read_source,
    "budget_store": _read_budget_store,
    "cost_attributes": partial(_read_choice, words=("off", "proposed")),
    "metrics": partial(_read_choice, words=("both", "registry", "legacy", "off")),
    "metric_dimensions": _read_names,
    "stream_usage": partial(_read_choice, words=("never", "auto", "always")),
    "stream_usage_hosts": _read_names,
    "estimate_usage": partial(_read_choice, words=("separate", "usage", "off")),
    "store": partial(_read_path_or_off, kind="SQLite file (or of a .jsonl file)"),
    "store_max_mb": partial(_read_amount, unit="megabytes"),
    "store_max_days": partial(_read_amount, unit="days"),
    "fingerprints": partial(_read_choice, words=("auto", "off")),
    "spool": partial(_read_path_or_off, kind="folder"),
    "spool_max_mb": partial(_read_count, unit="megabytes"),
    "flush_timeout": _read_amount,
    "handle_sigterm": partial(_read_choice, words=("auto", "off")),
    "strict": _read_boolean,
    "prompts": _read_folder,
    "baggage_keys": _read_words,
    "rollup": _read_boolean,
}
