"""What the reports ask of a call, read from its span's attributes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .._decimal import CONTEXT, PICO, parse
from ..model.fingerprint import Fingerprint, fingerprint
from ..telemetry import names
from .span_codec import StoredSpan

__all__ = ["BIGGEST", "PICO", "attributes_of", "dimensions_of", "is_call", "labels_of", "measures_of", "similarity_of"]

"""Money is kept in trillionths of a dollar: exact in sums, where a float is not."""

_NOT_CALLS = frozenset(
    {"retrieval", "execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "plan", "render_prompt"}
)
BIGGEST = 2**63 - 1
"""The largest number that SQLite holds."""


def is_call(span: StoredSpan) -> bool:
    """Whether the span is a call to a model, rather than a search, a tool, an agent or a workflow."""
    operation = span.attributes.get(names.OPERATION)
    return isinstance(operation, str) and operation not in _NOT_CALLS


def dimensions_of(span: StoredSpan) -> tuple[Any, ...]:
    """The values of ``schema.FACTS``, in their order."""
    told = span.attributes
    outcome = _text(told, names.OUTCOME) or ("error" if span.status == "ERROR" else "ok")
    streamed = 1 if told.get(names.REQUEST_STREAM) is True or names.STREAM_END in told else 0
    return (
        span.scope[0].removeprefix("llmtrace."),
        _plain(span.resource.get("service.name")),
        _text(told, names.OPERATION),
        _text(told, names.PROVIDER),
        _text(told, names.REQUEST_MODEL),
        _text(told, names.RESPONSE_MODEL),
        _text(told, names.API),
        _text(told, names.OPENAI_RESPONSE_TIER),
        _text(told, names.FEATURE),
        _text(told, names.TENANT),
        _text(told, names.PROMPT_NAME),
        _text(told, names.PROMPT_VERSION),
        _text(told, names.PROMPT_HASH),
        _list(told.get(names.TAGS)),
        outcome,
        _text(told, names.ERROR_TYPE),
        _finish(told.get(names.FINISH_REASONS)),
        streamed,
        _text(told, names.STREAM_END),
        _text(told, names.USAGE_SOURCE),
        _unpriced(told, outcome),
        1 if told.get(names.COST_APPROXIMATE) is True else 0,
        int(pinned) if isinstance(pinned := told.get(names.MODEL_PINNED), bool) else None,
    )


def measures_of(span: StoredSpan) -> dict[str, int | None]:
    """The numbers of ``schema.MEASURES``; ids of texts are the writer's to add."""
    told = span.attributes
    return {
        "duration": max(0, span.ended - span.started) // 1000,
        "first_token": _scaled(told.get(names.STREAM_FIRST_TOKEN), 10**6),
        "input": _count(told, names.USAGE["input"]),
        "output": _count(told, names.USAGE["output"]),
        "cache_read": _count(told, names.USAGE["cache_read"]),
        "cache_write": _count(told, names.USAGE["cache_write"]),
        "reasoning": _count(told, names.USAGE["reasoning"]),
        "cost": _cost(told),
        "cost_input": _money(told.get(names.INPUT_COSTS["input"])),
        "estimated_cost": _money(told.get(names.COST_ESTIMATE)),
        "estimated_input": _count(told, names.ESTIMATED_INPUT),
        "estimated_output": _count(told, names.ESTIMATED_OUTPUT),
        "speed": _scaled(told.get(names.STREAM_SPEED), 1000),
        "stalls": _count(told, names.STREAM_STALLS),
    }


def similarity_of(span: StoredSpan, found: Fingerprint | None = None, key: bytes = b"") -> dict[str, int | None]:
    """What says which other requests this one was like: the span, what the call has sent, or its content."""
    told = span.attributes
    if names.REQUEST_HASH not in told:
        if found is not None:
            told = {**told, **attributes_of(found)}
        elif isinstance(told.get(names.INPUT_MESSAGES), str):
            told = _from_content(told, key)
    chars, tokens = _count(told, names.REQUEST_CHARS), _count(told, names.USAGE["input"])

    def tokens_of(*counts: str) -> int | None:
        part = sum(_count(told, name) or 0 for name in counts)
        return None if not chars or tokens is None or not part else round(tokens * min(1.0, part / chars))

    return {
        "exact_hash": _hash(told.get(names.REQUEST_HASH)),
        "near_hash": _hash(told.get(names.REQUEST_NEAR_HASH)),
        "prefix_hash": _hash(told.get(names.REQUEST_PREFIX_HASH)),
        "prefix_tokens": tokens_of(names.REQUEST_PREFIX_CHARS),
        "wasted_tokens": tokens_of(names.REQUEST_BLANK_CHARS, names.REQUEST_REPEATED_CHARS),
    }


def _from_content(told: Mapping[str, Any], key: bytes) -> Mapping[str, Any]:
    parts = {}
    for part, name in (("messages", names.INPUT_MESSAGES), ("system", names.SYSTEM_INSTRUCTIONS),
                      ("tools", names.TOOL_DEFINITIONS)):  # fmt: skip
        text = told.get(name)
        try:
            parts[part] = json.loads(text) if isinstance(text, str) else None
        except ValueError:  # cut by a limit on the length of attributes
            return told
    params = {
        name: told[name] for name in sorted(told) if name.startswith(names.REQUEST) and name != names.REQUEST_STREAM
    }
    return {**told, **attributes_of(fingerprint(**parts, params=params, key=key))}


def attributes_of(found: Fingerprint) -> dict[str, str | int]:
    """A fingerprint as attributes of the span, for calls whose content does not leave the process."""
    told: dict[str, str | int] = {
        names.REQUEST_HASH: found.exact,
        names.REQUEST_NEAR_HASH: found.near,
        names.REQUEST_CHARS: found.chars,
    }
    if found.prefix is not None:
        told |= {names.REQUEST_PREFIX_HASH: found.prefix, names.REQUEST_PREFIX_CHARS: found.prefix_chars}
    for name, count in (
        (names.REQUEST_BLANK_CHARS, found.blank_chars),
        (names.REQUEST_REPEATED_CHARS, found.repeated_chars),
    ):
        if count:
            told[name] = count
    return told


def labels_of(span: StoredSpan) -> str | None:
    """The free tags of the call, as canonical JSON."""
    found = {key.removeprefix(names.TAG): value for key, value in span.attributes.items() if key.startswith(names.TAG)}
    return json.dumps(found, sort_keys=True, ensure_ascii=False, default=str) if found else None


def _text(told: Mapping[str, Any], name: str) -> str | None:
    return _plain(told.get(name))


def _plain(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return str(value)


def _list(value: Any) -> str | None:
    return json.dumps(list(map(str, value)), ensure_ascii=False) if isinstance(value, (list, tuple)) and value else None


def _finish(value: Any) -> str | None:
    if isinstance(value, (list, tuple)):
        return ",".join(dict.fromkeys(map(str, value))) or None
    return _plain(value)


def _count(told: Mapping[str, Any], name: str) -> int | None:
    value = told.get(name)
    return value if type(value) is int and 0 <= value <= BIGGEST else None


def _scaled(value: Any, factor: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    scaled = round(value * factor)
    return scaled if scaled <= BIGGEST else None


def _cost(told: Mapping[str, Any]) -> int | None:
    if told.get(names.COST_CURRENCY, "USD") != "USD":
        return None
    exact = _money(told.get(names.COST_EXACT))
    return _money(told.get(names.COST_TOTAL)) if exact is None else exact


def _money(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        scaled = round(CONTEXT.multiply(parse(str(value)), PICO))
    except (ArithmeticError, ValueError):  # no number, or none that is finite
        return None
    return scaled if 0 <= scaled <= BIGGEST else None


def _unpriced(told: Mapping[str, Any], outcome: str) -> str | None:
    """Why a call that was billed has no cost. One that failed before the provider counted anything was not billed."""
    if _cost(told) is not None:
        return None
    currency = told.get(names.COST_CURRENCY, "USD")
    if currency != "USD":
        return f"currency_{currency}"
    counted = any(_count(told, name) is not None for name in (names.USAGE["input"], names.USAGE["output"]))
    if outcome in ("error", "blocked") and not counted:
        return None
    return _text(told, names.COST_REASON) or ("not_priced" if counted else None)


def _hash(value: Any) -> int | None:
    """Sixteen hexadecimal digits as the signed integer that SQLite holds in eight bytes."""
    try:
        number = int(value[:16], 16)
    except (TypeError, ValueError):
        return None
    return number - 2**64 if number > BIGGEST else number
