"""Replacement of invalid values of standard ``OTEL_*`` variables by their defaults, so that the program starts."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from urllib.parse import unquote

from .._process import ForkSafeLock, warn_once
from .environment import first_variable, is_http_url

_lock = ForkSafeLock(threading.RLock)

_PREFIX = "OTEL_EXPORTER_OTLP_"
_OF_ONE_SIGNAL = re.compile(f"{_PREFIX}(TRACES|METRICS|LOGS)_(.+)")
_HTTP, _GRPC = "http/protobuf", "grpc"

Check = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Variable:
    """Accepted values of a variable, and the text of its default."""

    accepts: Check
    accepted: str
    default: str = ""


def _words(*words: str, default: str) -> _Variable:
    return _Variable(lambda text: text.lower() in words, " or ".join([", ".join(words[:-1]), words[-1]]), default)


def _is_number(text: str, convert: Callable[[str], float] = float, minimum: float = 0, maximum: float = 1e308) -> bool:
    with suppress(ValueError):
        return minimum <= convert(text) <= maximum
    return False


def _integer(default: str, minimum: int = 1) -> _Variable:
    return _Variable(lambda text: _is_number(text, int, minimum), f"a whole number, {minimum} or more", default)


def _is_headers(text: str) -> bool:
    """Return True if at least one pair can be sent. The SDK skips and logs the others."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    values = [unquote(value).strip() for name, mark, value in pairs if name.strip() and mark]
    return bool(values) and all(value.isprintable() and max(value, default="") <= "\xff" for value in values)


def _is_installed(group: str, *more: str) -> Check:
    return lambda text: text in more or any(entry_points(group=group, name=text))


def _are_propagators(text: str) -> bool:
    is_propagator = _is_installed("opentelemetry_propagator", "none")
    return all(is_propagator(name.strip()) for name in text.split(","))


_FILE = _Variable(lambda text: os.access(text, os.R_OK), "the path of a file that can be read")
_EXPORTER = {
    "ENDPOINT": _Variable(is_http_url, "a URL with http:// or https://", "http://localhost:4318"),
    "PROTOCOL": _words(_GRPC, _HTTP, default=_HTTP),
    "TIMEOUT": _Variable(_is_number, "a number of seconds, 0 or more", "10"),
    "COMPRESSION": _words("none", "gzip", "deflate", default=""),
    "HEADERS": _Variable(_is_headers, "name=value pairs with commas between them"),
    "CERTIFICATE": _FILE,
    "CLIENT_KEY": _FILE,
    "CLIENT_CERTIFICATE": _FILE,
    "INSECURE": _words("true", "false", default="false"),
}
_MILLISECONDS = _Variable(lambda text: _is_number(text) and float(text) > 0, "a number of milliseconds above 0")
_CREDENTIALS = _Variable(_is_installed("opentelemetry_otlp_credential_provider"), "an installed credential provider")
_LENGTH = _integer("", 0)
_COUNT = _integer("128", 0)
_GENAI = "OTEL_INSTRUMENTATION_GENAI_"
_UPLOAD = f"{_GENAI}UPLOAD_"

_VARIABLES = {
    **{
        f"{_PREFIX}{signal}{kind}": variable
        for signal in ("", "TRACES_", "METRICS_", "LOGS_")
        for kind, variable in _EXPORTER.items()
    },
    "OTEL_PROPAGATORS": _Variable(
        _are_propagators, "names of installed propagators with commas between them", "tracecontext,baggage"
    ),
    "OTEL_TRACES_SAMPLER": _words(
        "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
        "parentbased_traceidratio", default="parentbased_always_on",
    ),
    "OTEL_TRACES_SAMPLER_ARG": _Variable(lambda text: _is_number(text, maximum=1.0), "a number from 0 to 1", "1.0"),
    **{
        f"OTEL_{kind}_{name}": _integer("")
        for kind in ("BSP", "BLRP")
        for name in ("SCHEDULE_DELAY", "EXPORT_TIMEOUT", "MAX_QUEUE_SIZE", "MAX_EXPORT_BATCH_SIZE")
    },
    "OTEL_METRIC_EXPORT_INTERVAL": _MILLISECONDS,
    "OTEL_METRIC_EXPORT_TIMEOUT": _MILLISECONDS,
    "OTEL_METRICS_EXEMPLAR_FILTER": _words("trace_based", "always_on", "always_off", default="trace_based"),
    f"{_PREFIX}METRICS_TEMPORALITY_PREFERENCE": _words("cumulative", "delta", "lowmemory", default="cumulative"),
    f"{_PREFIX}METRICS_DEFAULT_HISTOGRAM_AGGREGATION": _words(
        "explicit_bucket_histogram", "base2_exponential_bucket_histogram", default="explicit_bucket_histogram"
    ),
    "OTEL_ATTRIBUTE_COUNT_LIMIT": _integer("", 0),
    **{
        f"OTEL_{name}_COUNT_LIMIT": _COUNT
        for name in (
            "SPAN_ATTRIBUTE", "EVENT_ATTRIBUTE", "LINK_ATTRIBUTE", "SPAN_EVENT", "SPAN_LINK", "LOGRECORD_ATTRIBUTE",
        )
    },
    **{f"OTEL_{kind}ATTRIBUTE_VALUE_LENGTH_LIMIT": _LENGTH for kind in ("", "SPAN_", "LOGRECORD_")},
    **{
        f"OTEL_PYTHON_EXPORTER_OTLP_{protocol}_{signal}CREDENTIAL_PROVIDER": _CREDENTIALS
        for protocol in ("HTTP", "GRPC")
        for signal in ("", "TRACES_", "METRICS_", "LOGS_")
    },
    f"{_GENAI}CAPTURE_MESSAGE_CONTENT": _words(
        "no_content", "span_only", "event_only", "span_and_event", "true", "1", "yes", "on", "false", "0", "no", "off",
        default="",
    ),
    f"{_GENAI}EMIT_EVENT": _words("true", "1", "yes", "on", "false", "0", "no", "off", default=""),
    f"{_GENAI}COMPLETION_HOOK": _Variable(
        _is_installed("opentelemetry_genai_completion_hook", "upload"), "upload, or an installed completion hook"
    ),
    f"{_UPLOAD}FORMAT": _words("json", "jsonl", default=""),
    f"{_UPLOAD}MAX_QUEUE_SIZE": _integer(""),
}  # fmt: skip
"""Standard variables that the SDK, its exporters or llmtrace read, except those that accept any text."""


@contextmanager
def usable_environment() -> Iterator[None]:
    """Replace invalid values of ``OTEL_*`` variables by their defaults while the SDK and llmtrace read them.

    The SDK raises for some of them, for one even on import. Each is logged once. A variable is replaced and never
    removed, so that another thread that copies the environment does not miss a key.
    """
    with _lock:
        invalid = _invalid_variables()
        _exchange(invalid)
        try:
            yield
        finally:
            _exchange({name: (default, value) for name, (value, default) in invalid.items()})


def _exchange(values: dict[str, tuple[str, str]]) -> None:
    """Replace the first value of each variable by the second, except where the program has changed it meanwhile."""
    for name, (before, after) in values.items():
        if os.environ.get(name) == before:
            os.environ[name] = after


def _invalid_variables() -> dict[str, tuple[str, str]]:
    """Return the variables with an invalid value: that value and its replacement, by name."""
    invalid: dict[str, tuple[str, str]] = {}
    set_variables = [name for name in os.environ if name.startswith("OTEL_")]
    for name in set_variables:
        variable = _VARIABLES.get(name)
        value = os.environ.get(name)
        if value is None or variable is None or _is_valid(variable, name, value):
            continue
        default = _general_value(name, variable) or variable.default
        invalid[name] = value, default
        if value.strip():
            warn_once(
                f"llmtrace ignores {name}={_shown(name, value)}: it is not accepted; use {variable.accepted}."
                f" {f'{_shown(name, default)} is used' if default else 'The default is used'}"
            )
    return invalid


def _is_valid(variable: _Variable, name: str, value: str) -> bool:
    text = value.strip()
    if not text:  # an empty variable counts as unset, but the SDK raises for some empty ones
        return variable.default == "" or name.endswith("_ENDPOINT")
    if name == "OTEL_TRACES_SAMPLER_ARG" and "ratio" not in os.environ.get("OTEL_TRACES_SAMPLER", "").lower():
        return True
    if name.endswith("_ENDPOINT") and _is_grpc(name):
        return True
    with suppress(Exception):
        return variable.accepts(text)
    return False


def _is_grpc(endpoint: str) -> bool:
    """Return True if the exporter with this endpoint variable takes an address without a scheme."""
    names = (endpoint.replace("ENDPOINT", "PROTOCOL"), f"{_PREFIX}PROTOCOL")
    return first_variable(names)[1].lower() == _GRPC


def _general_value(name: str, variable: _Variable) -> str:
    """Return the value of the variable for all signals, which is the default of one signal's variable."""
    match = _OF_ONE_SIGNAL.fullmatch(name)
    if match is None:
        return ""
    signal, kind = match.groups()
    value = os.environ.get(f"{_PREFIX}{kind}", "").strip()
    if not value or not _is_valid(variable, f"{_PREFIX}{kind}", value):
        value = variable.default
    return f"{value.rstrip('/')}/v1/{signal.lower()}" if kind == "ENDPOINT" else value


def _shown(name: str, value: str) -> str:
    """Return a value for the log, without the credentials that headers and URLs may contain."""
    if name.endswith("HEADERS"):
        return "'...'"
    account, mark, host = value.rpartition("@")
    return repr(f"{account.partition('//')[0]}//...@{host}" if mark and name.endswith("ENDPOINT") else value)
