"""Errors that a server reports in a response body, including bodies with HTTP status 200."""

from __future__ import annotations

from typing import Any

from .._read import get, get_text, iter_list

_CODES = ("code", "type", "status", "error_code", "error_type")
_SUCCESS = frozenset({"", "0", "200", "success", "ok", "none"})
_PAYLOADS = (
    "choices", "output", "outputs", "content", "completion", "candidates", "data", "results", "text", "predictions",
    "embeddings", "embedding", "usage",
)  # fmt: skip
"""Fields of a successful response. A body with one of them is not an error, even if it has a ``code``."""


def read_error(body: Any) -> str | None:
    """Return the vendor's code of a reported error, ``"error"`` if it has none, ``None`` if the body is not an error.

    Body shapes and their senders: ``error`` as an object (OpenAI, Anthropic, Gemini, OpenRouter, LiteLLM), as text
    (Ollama, Text Generation Inference) or in ``x_groq``; ``object: error`` (vLLM, Mistral); ``base_resp`` (MiniMax);
    ``error_code`` (Baidu); ``success: false`` (Cloudflare, Z.ai); ``code`` and ``message`` alone (DashScope, Spark).
    """
    if isinstance(body, list):  # Gemini wraps the object in a list
        body = body[0] if body else None
    if body is None:
        return None
    error = get(body, "error") or get(get(body, "x_groq"), "error")
    if isinstance(error, str) or error is True:
        return _code(body) or "error"
    if error and (code := _code(error)):
        return code
    if error and get_text(error, "message"):
        return "error"
    if "error" in (get(body, "object"), get(body, "type")):
        return _code(body) or "error"
    base = _number(get(body, "base_resp"), "status_code")
    if base not in (None, "0"):
        return base
    return _code_alone(body)


def _code_alone(body: Any) -> str | None:
    """Return the code of a body that consists of an error only."""
    if any(get(body, name) for name in _PAYLOADS):
        return None
    if get(body, "success") is False:
        return _code(next(iter_list(body, "errors"), None)) or _code(body) or "error"
    if get_text(body, "message") or get_text(body, "msg") or get_text(body, "error_msg"):
        code = get_text(body, "code") or _number(body, "code") or _number(body, "error_code") or ""
        return None if code.lower() in _SUCCESS else code
    return None


def error_code(body: Any) -> str | None:
    """Return the vendor's error code in the body of a response with an error status, if there is one."""
    inner = get(body, "error")
    return _code(body if inner is None or isinstance(inner, str) else inner)


def _code(error: Any) -> str | None:
    """Return the first code that is text, except the word ``error`` itself; else the first number."""
    texts = (code for name in _CODES if (code := get_text(error, name)) and code != "error")
    return next(texts, None) or next((code for name in _CODES if (code := _number(error, name))), None)


def _number(source: Any, name: str) -> str | None:
    value = get(source, name)
    return str(value) if type(value) is int else None
