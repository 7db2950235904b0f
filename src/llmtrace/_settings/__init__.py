"""Settings. Arguments take precedence over ``LLMTRACE_<FIELD>`` variables, and variables over defaults."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from .._process import warn_once
from .environment import is_http_url

CONTENT_MODES = ("no_content", "span_only", "event_only", "span_and_event")
BRIDGES = ("openinference", "langfuse", "logfire")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})
_Reader = Callable[[str, object], object]


class ConfigError(ValueError):
    """Invalid value of a setting. The message names the setting and the accepted values."""


def _invalid(name: str, value: object, accepted: str) -> ConfigError:
    return ConfigError(f"{name}={value!r} is not accepted; use {accepted}")


def _read_boolean(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else ""
    if word not in _TRUE | _FALSE:
        raise _invalid(name, value, "true or false (also 1/0, yes/no, on/off)")
    return word in _TRUE


def _read_list(
    name: str,
    value: object,
    *,
    accepted: str = "a comma list",
    is_valid: Callable[[str], object] = bool,
    clean: Callable[[str], str] = str.strip,
) -> tuple[str, ...]:
    """Read a comma list, or an iterable of texts, without empty items and repetitions."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, Iterable) else [None]
    words = [clean(item) if isinstance(item, str) else None for item in items]
    if not all(word == "" or (word and is_valid(word)) for word in words):
        raise _invalid(name, value, accepted)
    return tuple(dict.fromkeys(filter(None, words)))


def _lower(text: str) -> str:
    return text.strip().lower()


def _read_clients(name: str, value: object, accepted: Collection[str] = ()) -> tuple[str, ...]:
    expected = f"a comma list of {', '.join(accepted) or 'client names'}; a leading '-' leaves one out"

    def is_client(word: str) -> bool:
        return not accepted or word.removeprefix("-") in accepted

    return _read_list(name, value, accepted=expected, is_valid=is_client, clean=_lower)


def _read_bridges(name: str, value: object) -> tuple[str, ...]:
    expected = f"a comma list of {', '.join(BRIDGES)}, or none"
    if not isinstance(value, (str, list, tuple)):  # a set has no order
        raise _invalid(name, value, expected)
    words = _read_list(name, value, accepted=expected, is_valid=(*BRIDGES, "none").__contains__, clean=_lower)
    return tuple(word for word in words if word != "none")


def _choice(*words: str) -> _Reader:
    def read(name: str, value: object) -> str:
        word = _lower(value) if isinstance(value, str) else None
        if word not in words:
            raise _invalid(name, value, f"{', '.join(words[:-1])} or {words[-1]}")
        return word

    return read


def content_mode(name: str, value: object) -> str:
    """Return the content mode for a setting that also takes booleans.

    Raises:
        ConfigError: The value is not valid.
    """
    word = str(value).strip().lower() if isinstance(value, (str, bool)) else ""
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


def _read_path(name: str, value: object, *, kind: str, or_off: bool = True) -> str:
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str) or "\0" in path or not (or_off or path.strip()):
        raise _invalid(name, value, f"the path of a {kind}{', or off' if or_off else ''}")
    path = path.strip()
    return "off" if or_off and path.lower() == "off" else path


def _read_number(name: str, value: object, *, unit: str, integer: bool = False, minimum: int = 0) -> float:
    number = math.nan
    if isinstance(value, (int, str) if integer else (int, float, str)) and not isinstance(value, bool):
        with suppress(ValueError, OverflowError):
            number = (int if integer else float)(value)
    if not minimum <= number < math.inf:
        raise _invalid(name, value, f"a {'whole ' if integer else ''}number of {unit}, {minimum} or more")
    return number


def _setting(default: object, read: _Reader) -> Any:
    """Return the field of a setting with its default, and the function that reads its value from text or arguments."""
    return field(default=default, metadata={"read": read})


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings with their defaults. Every field has one ``LLMTRACE_<FIELD>`` variable."""

    enabled: bool = _setting(True, _read_boolean)
    clients: tuple[str, ...] = _setting((), _read_clients)
    native_spans: str = _setting("replace", _choice("replace", "keep"))
    error_messages: bool = _setting(False, _read_boolean)
    capture_content: str | None = _setting(None, content_mode)
    """Destination of recorded content: ``no_content``, ``span_only``, ``event_only`` or ``span_and_event``."""
    content_max_bytes: int = _setting(65536, partial(_read_number, unit="bytes", integer=True, minimum=256))
    content_blobs: str = _setting("placeholder", _choice("placeholder", "inline"))
    redact: object = _setting(None, _read_redact)
    """Redaction of recorded text: ``builtin``, ``module:callable``, or a function from text to text."""
    bridges: tuple[str, ...] = _setting(("openinference",), _read_bridges)
    prices: object = _setting(None, _read_source)
    """Overrides of the price catalog: a path, or a list of mappings."""
    budgets: object = _setting(None, _read_source)
    """Budgets: a path, or a list of ``Budget``."""
    budget_store: str = _setting("memory", _read_budget_store)
    cost_attributes: str = _setting("off", _choice("off", "proposed"))
    """``proposed`` writes the cost under the names of the open proposal for the GenAI conventions too."""
    metrics: str = _setting("both", _choice("both", "registry", "legacy", "off"))
    """``registry`` records the metric names of GenAI v0.1.0, ``legacy`` those before, ``both`` all, ``off`` none."""
    metric_dimensions: tuple[str, ...] = _setting(("feature",), _read_list)
    stream_usage: str = _setting("never", _choice("never", "auto", "always"))
    stream_usage_hosts: tuple[str, ...] = _setting((), _read_list)
    estimate_usage: str = _setting("separate", _choice("separate", "usage", "off"))
    store: str = _setting("", partial(_read_path, kind="SQLite file (or of a .jsonl file)"))
    store_max_mb: float = _setting(1024.0, partial(_read_number, unit="megabytes"))
    store_max_days: float = _setting(90.0, partial(_read_number, unit="days"))
    fingerprints: str = _setting("auto", _choice("auto", "off"))
    """``auto`` keeps keyed hashes of requests in the local store for ``llmtrace advise``; ``off`` does not."""
    spool: str = _setting("", partial(_read_path, kind="folder"))
    spool_max_mb: int = _setting(256, partial(_read_number, unit="megabytes", integer=True, minimum=1))
    flush_timeout: float = _setting(5.0, partial(_read_number, unit="seconds"))
    handle_sigterm: str = _setting("auto", _choice("auto", "off"))
    """``auto`` flushes on SIGTERM before the previous handler runs; ``off`` does not handle the signal."""
    strict: bool = _setting(False, _read_boolean)
    prompts: str = _setting("prompts", partial(_read_path, kind="folder", or_off=False))
    baggage_keys: tuple[str, ...] = _setting(
        (),
        partial(
            _read_list,
            accepted="a comma list of tag names: feature, user, session, tenant, or a free key",
            is_valid=re.compile(r"[\w.-]+", re.ASCII).fullmatch,
        ),
    )
    rollup: bool = _setting(False, _read_boolean)


_READERS: dict[str, _Reader] = {each.name: each.metadata["read"] for each in fields(Settings)}


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
    readers: dict[str, _Reader] = {**_READERS, "clients": partial(_read_clients, accepted=clients)}
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


def check_arguments(endpoint: object, service_name: object) -> tuple[str | None, str | None]:
    """Return the arguments ``endpoint`` and ``service_name`` of ``instrument()``, stripped.

    Raises:
        ConfigError: The endpoint is not a URL with a scheme and a host, or the name is not a string or empty.
    """
    if endpoint is not None and not (isinstance(endpoint, str) and is_http_url(endpoint)):
        raise _invalid("endpoint", endpoint, "a URL with its scheme, such as http://localhost:4318")
    if service_name is not None and not (isinstance(service_name, str) and service_name.strip()):
        raise _invalid("service_name", service_name, "a name, such as checkout")
    return endpoint and endpoint.strip(), service_name and service_name.strip()


def report_unknown(variables: Mapping[str, str]) -> None:
    """Log each unknown ``LLMTRACE_`` variable once, with the most similar valid name."""
    accepted = [f"LLMTRACE_{name.upper()}" for name in _READERS]
    for name in sorted(variables):
        if not name.startswith("LLMTRACE_") or name in accepted:
            continue
        from difflib import get_close_matches

        nearest = next(iter(get_close_matches(name, accepted, 1, 0.0)))
        warn_once(f"llmtrace ignores {name}: there is no such setting; did you mean {nearest}?")
