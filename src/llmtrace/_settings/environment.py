"""Environment variables of this process. Nothing outside this package reads them directly."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit


def variables() -> Mapping[str, str]:
    """Return all environment variables, as they are now and later."""
    return os.environ


def variable(name: str) -> str:
    """Return the stripped value of an environment variable, or an empty string."""
    return os.environ.get(name, "").strip()


def first_variable(names: Iterable[str]) -> tuple[str, str]:
    """Return the name and the stripped value of the first variable that is not empty, or two empty strings."""
    return next(((name, value) for name in names if (value := variable(name))), ("", ""))


def is_http_url(text: str) -> bool:
    """Return True if a text is a URL with ``http`` or ``https`` and a host."""
    try:
        url = urlsplit(text)
        return url.scheme.lower() in ("http", "https") and bool(url.hostname) and (url.port or 1) > 0
    except ValueError:
        return False
