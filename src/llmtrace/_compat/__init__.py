"""Private names of other packages, each with a probe and a fallback, so that a rename upstream breaks nothing.

``docs/reference/private-names.md`` lists them, with the consequence of a missing one.
"""

from __future__ import annotations

from .._process import warn_once

__all__ = ["warn_missing"]


def warn_missing(package: str, name: str, consequence: str) -> None:
    """Log, once, that the installed release of ``package`` has no ``name``."""
    warn_once(f"llmtrace: this release of {package} has no {name}; {consequence}")
