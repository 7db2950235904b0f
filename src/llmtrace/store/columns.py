"""Column values of a call, read from the attributes of its span."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from .._decimal import CONTEXT, PICO, parse
from ..model.fingerprint import Fingerprint, fingerprint
from ..telemetry import names
from .span_codec import StoredSpan

_NOT_CALLS = frozenset(
    {"retrieval", "execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "plan", "render_prompt"}
)
_INFERENCE = frozenset({"chat", "embeddings", "generate_content", "text_completion"})
_TOKENS = ("input", "output", "cache_read", "cache_write", "reasoning")
MAX_INTEGER = 2**63 - 1
"""Largest integer that SQLite stores."""


def is_call(span: StoredSpan) -> bool:
    """Return True if the span is a call to a model, not a retrieval, a tool, an agent or a workflow.

    Frameworks have operations of their own. A span of theirs with an unknown operation is a call if it has usage.
    """
    operation = names.operation_of(span.attributes)
    if not isinstance(operation, str) or operation in _NOT_CALLS:
        return False
    own = span.scope[0].partition(".")[0] in ("", "llmtrace")
    return own or operation in _INFERENCE or any(names.USAGE[name] in span.attributes for name in ("input", "output"))


def dimensions_of(span: StoredSpan) -> tuple[Any, ...]:
    """Return the values of ``schema.DIMENSION_COLUMNS``, in the same order."""
    attributes = span.attributes
    outcome = _text(attributes, names.OUTCOME) or ("error" if span.status == "ERROR" else "ok")
    streamed = 1 if attributes.get(names.REQUEST_STREAM) is True or names.STREAM_END in attributes else 0
    return (
        span.scope[0].removeprefix("llmtrace."),
        _plain(span.resource.get("service.name")),
        _plain(names.operation_of(attributes)),
        _text(attributes, names.PROVIDER),
        _text(attributes, names.REQUEST_MODEL),
        _text(attributes, names.RESPONSE_MODEL),
        _text(attributes, names.API),
        _text(attributes, names.OPENAI_RESPONSE_TIER),
        _text(attributes, names.FEATURE),
        _text(attributes, names.TENANT),
        _text(attributes, names.PROMPT_NAME),
        _text(attributes, names.PROMPT_VERSION),
        _text(attributes, names.PROMPT_HASH),
        _list(attributes.get(names.TAGS)),
        outcome,
        _text(attributes, names.ERROR_TYPE),
        _finish(attributes.get(names.FINISH_REASONS)),
        streamed,
        _text(attributes, names.STREAM_END),
        _text(attributes, names.USAGE_SOURCE),
        _unpriced(attributes, outcome),
        1 if attributes.get(names.COST_APPROXIMATE) is True else 0,
        int(pinned) if isinstance(pinned := attributes.get(names.MODEL_PINNED), bool) else None,
    )


def measures_of(span: StoredSpan) -> dict[str, int | None]:
    """Return the numbers of ``schema.MEASURES``, without the text ids and hashes, which the writer adds."""
    attributes = span.attributes
    return {
        "duration": max(0, span.ended - span.started) // 1000,
        "first_token": _scaled(attributes.get(names.STREAM_FIRST_TOKEN), 10**6),
        **{name: _count(attributes, names.USAGE[name]) for name in _TOKENS},
        "cost": _cost(attributes),
        "cost_input": _money(attributes.get(names.INPUT_COSTS["input"])),
        "estimated_cost": _money(attributes.get(names.COST_ESTIMATE)),
        "estimated_input": _count(attributes, names.ESTIMATED_INPUT),
        "estimated_output": _count(attributes, names.ESTIMATED_OUTPUT),
        "speed": _scaled(attributes.get(names.STREAM_SPEED), 1000),
        "stalls": _count(attributes, names.STREAM_STALLS),
    }


def similarity_of(span: StoredSpan, hashes: Fingerprint | None = None, key: bytes = b"") -> dict[str, int | None]:
    """Return the columns that identify similar requests, from the request body or else from recorded content."""
    if hashes is None and (hashes := _from_content(span.attributes, key)) is None:
        return {}
    chars, tokens = hashes.chars, _count(span.attributes, names.USAGE["input"])

    def tokens_of(part: int) -> int | None:
        return None if not chars or tokens is None or not part else round(tokens * min(1.0, part / chars))

    return {
        "exact_hash": _hash(hashes.exact),
        "near_hash": _hash(hashes.near),
        "prefix_hash": None if hashes.prefix is None else _hash(hashes.prefix),
        "prefix_tokens": None if hashes.prefix is None else tokens_of(hashes.prefix_chars),
        "wasted_tokens": tokens_of(hashes.blank_chars + hashes.repeated_chars),
    }


def _from_content(attributes: Mapping[str, Any], key: bytes) -> Fingerprint | None:
    if not isinstance(attributes.get(names.INPUT_MESSAGES), str):
        return None
    parts = {}
    for part, name in (("messages", names.INPUT_MESSAGES), ("system", names.SYSTEM_INSTRUCTIONS),
                      ("tools", names.TOOL_DEFINITIONS)):  # fmt: skip
        text = attributes.get(name)
        try:
            parts[part] = json.loads(text) if isinstance(text, str) else None
        except ValueError:  # truncated by a limit on attribute length
            return None
    params = {
        name: attributes[name]
        for name in sorted(attributes)
        if name.startswith(names.REQUEST) and name != names.REQUEST_STREAM
    }
    return fingerprint(**parts, params=params, key=key)


def labels_of(span: StoredSpan) -> str | None:
    """Return the free tags of the call as canonical JSON."""
    tags = {key.removeprefix(names.TAG): value for key, value in span.attributes.items() if key.startswith(names.TAG)}
    return json.dumps(tags, sort_keys=True, ensure_ascii=False, default=str) if tags else None


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    return _plain(attributes.get(name))


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


def _count(attributes: Mapping[str, Any], name: str) -> int | None:
    value = attributes.get(name)
    return value if type(value) is int and 0 <= value <= MAX_INTEGER else None


def _scaled(value: Any, factor: int) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        return None
    scaled = round(value * factor)
    return scaled if scaled <= MAX_INTEGER else None


def _cost(attributes: Mapping[str, Any]) -> int | None:
    if attributes.get(names.COST_CURRENCY, "USD") != "USD":
        return None
    exact = _money(attributes.get(names.COST_EXACT))
    return _money(attributes.get(names.COST_TOTAL)) if exact is None else exact


def _money(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        scaled = round(CONTEXT.multiply(parse(str(value)), PICO))
    except (ArithmeticError, ValueError):  # not a number, or not a finite one
        return None
    return scaled if 0 <= scaled <= MAX_INTEGER else None


def _unpriced(attributes: Mapping[str, Any], outcome: str) -> str | None:
    """Return the reason why a billed call has no cost. A call that failed without usage was not billed."""
    if _cost(attributes) is not None:
        return None
    currency = attributes.get(names.COST_CURRENCY, "USD")
    if currency != "USD":
        return f"currency_{currency}"
    counted = any(_count(attributes, name) is not None for name in (names.USAGE["input"], names.USAGE["output"]))
    if outcome in ("error", "blocked") and not counted:
        return None
    return _text(attributes, names.COST_REASON) or ("not_priced" if counted else None)


def _hash(digits: str) -> int:
    """Convert sixteen hexadecimal digits to the signed 64-bit integer that SQLite stores."""
    number = int(digits, 16)
    return number - 2**64 if number > MAX_INTEGER else number
