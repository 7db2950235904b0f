"""Fingerprints of requests: hashes that identify repeats without content, and counts of wasted characters."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from itertools import takewhile
from typing import Any

_EXTRA_WHITESPACE = re.compile(r"[ \t]{2,}|[ \t]+(?=\n)|\n{3,}")
_VARYING = re.compile(r"[\W\d_]+")
_MIN_LINE_CHARS = 40
"""Minimum length of a repeated line. Shorter lines repeat in any text: list markers, brackets, table rules."""
_MAX_DEPTH = 32
_STRUCTURE = frozenset({"role", "type", "id", "mime_type", "modality", "data", "name"})


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Fingerprint of one request. Hashes are 16 hexadecimal digits and only show if two requests are alike."""

    exact: str
    """Hash of everything that decides the response."""
    near: str
    """Hash of the model and the texts, ignoring case, digits, punctuation and white space."""
    prefix: str | None
    """Hash of model, tools, instructions and leading system messages, which a prompt cache can keep."""
    prefix_chars: int
    chars: int
    blank_chars: int
    """Number of superfluous characters: repeated spaces, trailing spaces, and empty lines beyond one."""
    repeated_chars: int
    """Number of characters in lines that occur earlier in the same request."""


def fingerprint(
    messages: Any,
    *,
    system: Any = None,
    tools: Any = None,
    model: Any = None,
    params: Any = None,
    key: bytes = b"",
) -> Fingerprint:
    """Return the fingerprint of a request from the parts of its body, or of the span that describes it.

    Args:
        messages: The input: messages, one text, or a list of texts.
        system: Instructions that are not among the messages.
        tools: Definitions of tools.
        model: The requested model.
        params: Other parameters that decide the response, such as the temperature.
        key: The key of the hashes. Only hashes with the same key can be compared.
    """
    leading = _leading(messages)
    body = [model, params, tools, system, messages]
    texts = list(_texts([tools, system, messages], 0))
    chars = sum(map(len, texts))
    head = list(_texts([tools, system, leading], 0))
    text = "\n".join(texts)
    seen: set[str] = set()
    repeated = 0
    for line in text.split("\n"):
        if len(line) >= _MIN_LINE_CHARS:
            if line in seen:
                repeated += len(line) + 1
            seen.add(line)
    near = " ".join(_VARYING.sub(" ", part.lower()).strip() for part in texts)
    return Fingerprint(
        exact=_hash(_canonical(body), key),
        near=_hash(f"{model}\n{near}", key),
        prefix=_hash(_canonical([model, tools, system, leading]), key) if head else None,
        prefix_chars=sum(map(len, head)),
        chars=chars,
        blank_chars=sum(match.end() - match.start() - 1 for match in _EXTRA_WHITESPACE.finditer(text)),
        repeated_chars=repeated,
    )


def _leading(messages: Any) -> list[Any]:
    """Return the system and developer messages before the first other message."""
    if not isinstance(messages, (list, tuple)):
        return []
    roles = ("system", "developer")
    return list(takewhile(lambda item: isinstance(item, Mapping) and item.get("role") in roles, messages))


def _texts(value: Any, depth: int) -> Iterator[str]:
    """Yield every text in a request, in order."""
    if isinstance(value, str):
        if value:
            yield value
    elif depth < _MAX_DEPTH and isinstance(value, Mapping):
        for key, inner in value.items():
            if key not in _STRUCTURE or not isinstance(inner, str):
                yield from _texts(inner, depth + 1)
    elif depth < _MAX_DEPTH and isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner, depth + 1)


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def _hash(text: str, key: bytes) -> str:
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=key).hexdigest()
